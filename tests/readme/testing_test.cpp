// docs/testing.md: its blocks are cases by themselves.
#include <doctest/doctest.h>

#include <pages/testing.hpp>
