#include <runnel/detail/resident.hpp>
#include <runnel/loop.hpp>

#include <doctest/doctest.h>

using namespace runnel;

namespace {

class guest final : public detail::resident {
 public:
  guest(loop& owner, int& gone) noexcept : resident(owner), gone_(&gone) {}
  ~guest() override { ++*gone_; }

 private:
  int* gone_;
};

}  // namespace

TEST_CASE("resident: those that are still there die with their loop") {
  int gone = 0;
  {
    loop driver{loop_options{.simulated = 0}};
    delete new guest(driver, gone);
    CHECK(gone == 1);
    static_cast<void>(new guest(driver, gone));
    static_cast<void>(new guest(driver, gone));
    CHECK(gone == 1);
  }
  CHECK(gone == 3);
}

TEST_CASE("resident: where there are too many the oldest makes room") {
  int old = 0;
  int young = 0;
  loop driver{loop_options{.simulated = 0}};
  static_cast<void>(new guest(driver, old));
  for (std::size_t i = 1; i < detail::resident_list::most; ++i) {
    static_cast<void>(new guest(driver, young));
  }
  CHECK(old == 0);
  static_cast<void>(new guest(driver, young));
  CHECK(old == 1);
  CHECK(young == 0);
}
