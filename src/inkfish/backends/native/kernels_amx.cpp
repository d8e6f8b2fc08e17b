// AMX tiles for the bfloat16 and int8 products of many rows; everything else is AVX-512's, which gives the same bits.
#include <immintrin.h>

#include "kernels.h"

namespace {

using inkfish::kPanel;
using inkfish::kStepAlign;
using inkfish::kStepBytes;
using inkfish::kTileRows;

constexpr int kFewRows = 3;  // below this many, tiles are mostly empty and vectors are faster
constexpr int kAhead = 2 * kStepAlign * kStepBytes;

// Tiles 0-3 hold sums (rows 0-15 and 16-31 × outputs 0-15 and 16-31), 4-5 activations, 6-7 weights.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The intrinsics want literal tile numbers, so the two products are spelled out.
struct Bfloat16 {
  static void upper() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
  }
  static void lower() {
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};
struct Int8 {
  static void upper() {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
  }
  static void lower() {
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
};

inline void prefetch_block(const std::byte* p) {
  for (int i = 0; i < kStepAlign * kStepBytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T0);
}

// Up to 32 rows (both halves) or 16 (the upper one) against one panel.
template <class T, bool both>
inline void block(const std::byte* panel, const std::byte* x, std::size_t x_stride, int steps, bool first,
                  float* sums) {
  constexpr int kSumStride = kPanel * 4;
  float* lower_sums = sums + kTileRows * kPanel;
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (both) {
      _tile_zero(2);
      _tile_zero(3);
    }
  } else {
    _tile_loadd(0, sums, kSumStride);
    _tile_loadd(1, sums + 16, kSumStride);
    if constexpr (both) {
      _tile_loadd(2, lower_sums, kSumStride);
      _tile_loadd(3, lower_sums + 16, kSumStride);
    }
  }
  for (int s = 0; s < steps; s += kStepAlign, panel += kStepAlign * kStepBytes) {
    prefetch_block(panel + kAhead);
    _tile_loadd(6, panel, kStepBytes);
    _tile_loadd(7, panel + 64, kStepBytes);
    _tile_loadd(4, x + 4 * s, x_stride);
    T::upper();
    if constexpr (both) {
      _tile_loadd(5, x + kTileRows * x_stride + 4 * s, x_stride);
      T::lower();
    }
  }
  _tile_stored(0, sums, kSumStride);
  _tile_stored(1, sums + 16, kSumStride);
  if constexpr (both) {
    _tile_stored(2, lower_sums, kSumStride);
    _tile_stored(3, lower_sums + 16, kSumStride);
  }
}

template <class T, inkfish::Type type>
void accumulate(const std::byte* panel, const std::byte* x, std::size_t x_stride, int rows, int steps, bool first,
                void* out) {
  if (rows < kFewRows) {
    return inkfish::avx512_kernels()->accumulate[int(type)](panel, x, x_stride, rows, steps, first, out);
  }
  auto* sums = static_cast<float*>(out);  // int32 sums only pass through
  for (; rows > kTileRows; rows -= 2 * kTileRows, x += 2 * kTileRows * x_stride, sums += 2 * kTileRows * kPanel) {
    block<T, true>(panel, x, x_stride, steps, first, sums);
  }
  if (rows > 0) block<T, false>(panel, x, x_stride, steps, first, sums);
}

unsigned begin() {
  static const TileConfig config;  // static: GCC 12 thinks that only the first 8 bytes of a local one are read
  _tile_loadconfig(&config);
  return inkfish::avx512_kernels()->begin();
}

void end(unsigned saved) {
  _tile_release();
  inkfish::avx512_kernels()->end(saved);
}

inkfish::Kernels make() {
  inkfish::Kernels kernels = *inkfish::avx512_kernels();
  kernels.begin = begin;
  kernels.end = end;
  kernels.accumulate[int(inkfish::Type::bfloat16)] = accumulate<Bfloat16, inkfish::Type::bfloat16>;
  kernels.accumulate[int(inkfish::Type::int8)] = accumulate<Int8, inkfish::Type::int8>;
  return kernels;
}

}  // namespace

const inkfish::Kernels* inkfish::amx_kernels() {
  static const Kernels kernels = make();
  return &kernels;
}
