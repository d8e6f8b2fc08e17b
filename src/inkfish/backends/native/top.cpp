#include "top.h"

#include <algorithm>

namespace inkfish {

// A heap whose top is the worst of the best k so far. Most numbers fail the one comparison with it, many at a time.
void largest(const float* x, int n, int k, float* values, std::int32_t* indices) {
  const auto better = [x](std::int32_t a, std::int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); };
  std::int32_t* last = indices + k;
  for (int i = 0; i < k; ++i) indices[i] = i;
  std::make_heap(indices, last, better);
  constexpr int kBlock = 64;
  for (int start = k; start < n; start += kBlock) {
    const int end = std::min(start + kBlock, n);
    const float worst = x[indices[0]];
    int any = 0;
    for (int i = start; i < end; ++i) any |= x[i] > worst;
    if (!any) continue;
    for (int i = start; i < end; ++i) {
      if (!(x[i] > x[indices[0]])) continue;  // an equal one comes later, so it is worse
      std::pop_heap(indices, last, better);
      indices[k - 1] = i;
      std::push_heap(indices, last, better);
    }
  }
  std::sort_heap(indices, last, better);
  for (int i = 0; i < k; ++i) values[i] = x[indices[i]];
}

}  // namespace inkfish
