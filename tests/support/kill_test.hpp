#pragma once

#include "runnel/testing/kill.hpp"
