#include "runnel/detail/resident.hpp"

#include "runnel/loop.hpp"

namespace runnel::detail {

resident::resident(loop& owner) noexcept : owner_(&owner) {
  resident_list& others = owner.residents_;
  if (others.count == resident_list::most) delete &others.all.front();
  others.all.push_back(*this);
  ++others.count;
}

resident::~resident() {
  --owner_->residents_.count;
}

}  // namespace runnel::detail
