#include "runnel/wire/packet.hpp"
