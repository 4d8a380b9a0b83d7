#pragma once

#include "runnel/testing/task_test.hpp"
