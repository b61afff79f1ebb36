// Goal: every duration falls into the bucket whose bound it does not exceed.
#include "base/histogram.h"

#include <gtest/gtest.h>

namespace hf {
namespace {

TEST(HistogramTest, BoundsAreInclusive) {
  Histogram histogram;
  histogram.add(Duration{0});
  histogram.add(microseconds(100));
  histogram.add(Duration{100'001});
  histogram.add(seconds(10), 2);
  histogram.add(seconds(11));
  EXPECT_EQ(histogram.in(0), 2u);
  EXPECT_EQ(histogram.in(1), 1u);
  EXPECT_EQ(histogram.in(Histogram::kBounds.size() - 1), 2u);
  EXPECT_EQ(histogram.in(Histogram::kBounds.size()), 1u);
  EXPECT_EQ(histogram.count(), 6u);
  EXPECT_EQ(histogram.sum_ns(), 31'000'200'001u);
}

}  // namespace
}  // namespace hf
