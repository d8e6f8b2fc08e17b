// Vectors of 16 lanes in AVX-512 (F, BW, DQ, VL, VNNI).
#pragma once

#include <immintrin.h>

#include "layout.h"

namespace {

constexpr int kRows = 12;          // rows of a register tile: 12 × 2 sums, 2 weights and a broadcast in 32 registers
constexpr int kRowsBfloat16 = 6;   // even and odd sums
constexpr int kInt8Offset = 128;   // VNNI multiplies unsigned by signed: activations are stored with 128 added

using f32x16 = __m512;
using i32x16 = __m512i;

inline f32x16 zero() { return _mm512_setzero_ps(); }
inline f32x16 set(float x) { return _mm512_set1_ps(x); }
inline f32x16 load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, f32x16 x) { _mm512_storeu_ps(p, x); }
inline f32x16 add(f32x16 a, f32x16 b) { return _mm512_add_ps(a, b); }
inline f32x16 sub(f32x16 a, f32x16 b) { return _mm512_sub_ps(a, b); }
inline f32x16 mul(f32x16 a, f32x16 b) { return _mm512_mul_ps(a, b); }
inline f32x16 div(f32x16 a, f32x16 b) { return _mm512_div_ps(a, b); }
inline f32x16 max(f32x16 a, f32x16 b) { return _mm512_max_ps(a, b); }
inline f32x16 min(f32x16 a, f32x16 b) { return _mm512_min_ps(a, b); }
inline f32x16 abs(f32x16 a) { return _mm512_abs_ps(a); }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmadd_ps(a, b, c); }
inline float first_lane(f32x16 x) { return _mm512_cvtss_f32(x); }

// Lanes below n of a, the others from b.
inline f32x16 select_below(int n, f32x16 a, f32x16 b) {
  const unsigned mask = n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1;
  return _mm512_mask_blend_ps(__mmask16(mask), b, a);
}

// Lane i becomes lane i ^ distance, distance 8, 4, 2 or 1.
template <int distance>
inline f32x16 swap(f32x16 x) {
  if constexpr (distance == 8) return _mm512_shuffle_f32x4(x, x, 0x4e);
  if constexpr (distance == 4) return _mm512_shuffle_f32x4(x, x, 0xb1);
  if constexpr (distance == 2) return _mm512_permute_ps(x, 0x4e);
  return _mm512_permute_ps(x, 0xb1);
}

inline i32x16 izero() { return _mm512_setzero_si512(); }
inline i32x16 iset(int x) { return _mm512_set1_epi32(x); }
inline i32x16 iload(const void* p) { return _mm512_loadu_si512(p); }
inline void istore(void* p, i32x16 x) { _mm512_storeu_si512(p, x); }
inline i32x16 iadd(i32x16 a, i32x16 b) { return _mm512_add_epi32(a, b); }
inline i32x16 isub(i32x16 a, i32x16 b) { return _mm512_sub_epi32(a, b); }
inline i32x16 imul(i32x16 a, i32x16 b) { return _mm512_mullo_epi32(a, b); }
inline i32x16 shift_left(i32x16 a, int n) { return _mm512_slli_epi32(a, unsigned(n)); }
inline i32x16 round_to_int(f32x16 a) { return _mm512_cvtps_epi32(a); }
inline f32x16 to_float(i32x16 a) { return _mm512_cvtepi32_ps(a); }
inline f32x16 as_float(i32x16 a) { return _mm512_castsi512_ps(a); }
inline i32x16 as_int(f32x16 a) { return _mm512_castps_si512(a); }

// The even and the odd of 16 pairs of bfloat16.
inline f32x16 even(i32x16 a) { return as_float(_mm512_slli_epi32(a, 16)); }
inline f32x16 odd(i32x16 a) { return as_float(_mm512_and_si512(a, _mm512_set1_epi32(int(0xffff0000u)))); }

// Round to nearest even; a NaN stays one.
inline void store_bfloat16(std::byte* p, f32x16 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff)));
  rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

inline void store_int8(std::byte* p, i32x16 x) {
  const __m512i shifted = _mm512_add_epi32(x, _mm512_set1_epi32(kInt8Offset));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(shifted));
}

// c += the dot product of four int8 weights with four activations, lane by lane.
inline i32x16 dot(i32x16 x, i32x16 w, i32x16 c) { return _mm512_dpbusd_epi32(c, x, w); }

// 64 codes of four bits: those in the lower and in the upper halves of 64 bytes.
inline i32x16 codes(i32x16 x) {
  return _mm512_sub_epi8(_mm512_and_si512(x, _mm512_set1_epi8(0x0f)), _mm512_set1_epi8(8));
}
inline i32x16 lower_codes(i32x16 x) { return codes(x); }
inline i32x16 upper_codes(i32x16 x) { return codes(_mm512_srli_epi16(x, 4)); }

// 16 signed bytes, one for each lane.
inline i32x16 iload_bytes(const std::byte* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Each of a lane's four bytes times the lane's factor; what does not fit a byte is cut off.
inline i32x16 scale_bytes(i32x16 x, i32x16 factor) {
  const __m512i lower = _mm512_set1_epi16(0x00ff);
  const __m512i pairs = _mm512_mask_blend_epi16(0xaaaaaaaau, factor, _mm512_slli_epi32(factor, 16));
  const __m512i even = _mm512_and_si512(_mm512_mullo_epi16(x, pairs), lower);
  return _mm512_or_si512(even, _mm512_mullo_epi16(_mm512_andnot_si512(lower, x), pairs));
}

inline unsigned flush_subnormals() {
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040u);  // flush to zero, and take subnormals as zero, as AMX does
  return saved;
}
inline void restore_subnormals(unsigned saved) { _mm_setcsr(saved); }
inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace
