#include "runnel/wire/address.hpp"
