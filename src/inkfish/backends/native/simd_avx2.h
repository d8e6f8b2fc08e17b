// Vectors of 16 lanes as two AVX2 registers, with FMA; with AVX-VNNI too where the compiler is told so.
#pragma once

#include <immintrin.h>

#include "layout.h"

namespace {

constexpr int kRows = 3;          // rows of a register tile: 3 × 4 sums, a weight and three broadcasts in 16 registers
constexpr int kRowsBfloat16 = 1;  // 8 sums
#ifdef __AVXVNNI__
constexpr int kInt8Offset = 128;  // VNNI multiplies unsigned by signed: activations are stored with 128 added
#else
constexpr int kInt8Offset = 0;
#endif

struct f32x16 {
  __m256 a, b;
};
struct i32x16 {
  __m256i a, b;
};

inline f32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline f32x16 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, f32x16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline f32x16 add(f32x16 x, f32x16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline f32x16 sub(f32x16 x, f32x16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline f32x16 mul(f32x16 x, f32x16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline f32x16 div(f32x16 x, f32x16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline f32x16 max(f32x16 x, f32x16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline f32x16 min(f32x16 x, f32x16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline f32x16 abs(f32x16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline f32x16 fma(f32x16 x, f32x16 y, f32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline float first_lane(f32x16 x) { return _mm256_cvtss_f32(x.a); }

// Lanes below n of x, the others from y.
inline f32x16 select_below(int n, f32x16 x, f32x16 y) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 low = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes));
  const __m256 high = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lanes));
  return {_mm256_blendv_ps(y.a, x.a, low), _mm256_blendv_ps(y.b, x.b, high)};
}

// Lane i becomes lane i ^ distance, distance 8, 4, 2 or 1.
template <int distance>
inline f32x16 swap(f32x16 x) {
  if constexpr (distance == 8) return {x.b, x.a};
  if constexpr (distance == 4) return {_mm256_permute2f128_ps(x.a, x.a, 1), _mm256_permute2f128_ps(x.b, x.b, 1)};
  if constexpr (distance == 2) return {_mm256_permute_ps(x.a, 0x4e), _mm256_permute_ps(x.b, 0x4e)};
  return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}

inline i32x16 izero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline i32x16 iset(int x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline i32x16 iload(const void* p) {
  const auto* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
inline void istore(void* p, i32x16 x) {
  auto* q = static_cast<__m256i*>(p);
  _mm256_storeu_si256(q, x.a);
  _mm256_storeu_si256(q + 1, x.b);
}
inline i32x16 iadd(i32x16 x, i32x16 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
inline i32x16 isub(i32x16 x, i32x16 y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
inline i32x16 imul(i32x16 x, i32x16 y) { return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)}; }
inline i32x16 shift_left(i32x16 x, int n) { return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
inline i32x16 round_to_int(f32x16 x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
inline f32x16 to_float(i32x16 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline f32x16 as_float(i32x16 x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
inline i32x16 as_int(f32x16 x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }

// The even and the odd of 16 pairs of bfloat16.
inline f32x16 even(i32x16 x) { return as_float(shift_left(x, 16)); }
inline f32x16 odd(i32x16 x) {
  const __m256i mask = _mm256_set1_epi32(int(0xffff0000u));
  return as_float({_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)});
}

// Round to nearest even; a NaN stays one.
inline __m256i round_bfloat16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan), 16);
}
inline void store_bfloat16(std::byte* p, f32x16 x) {
  const __m256i packed = _mm256_packus_epi32(round_bfloat16(x.a), round_bfloat16(x.b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}

inline void store_int8(std::byte* p, i32x16 x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_add_epi8(bytes, _mm_set1_epi8(char(kInt8Offset))));
}

#ifdef __AVXVNNI__
// c += the dot product of four int8 weights with four activations, lane by lane.
inline __m256i dot_half(__m256i x, __m256i w, __m256i c) { return _mm256_dpbusd_avx_epi32(c, x, w); }
#else
// c += the dot product of four int8 weights with four activations. |x| · (w with x's sign) keeps the first factor
// unsigned, as the instruction wants; both lie within ±127, so a pair of products (at most 32,258) never saturates.
inline __m256i dot_half(__m256i x, __m256i w, __m256i c) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
  return _mm256_add_epi32(c, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif
inline i32x16 dot(i32x16 x, i32x16 w, i32x16 c) { return {dot_half(x.a, w.a, c.a), dot_half(x.b, w.b, c.b)}; }

// 64 codes of four bits: those in the lower and in the upper halves of 64 bytes.
inline __m256i half_codes(__m256i x) {
  return _mm256_sub_epi8(_mm256_and_si256(x, _mm256_set1_epi8(0x0f)), _mm256_set1_epi8(8));
}
inline i32x16 lower_codes(i32x16 x) { return {half_codes(x.a), half_codes(x.b)}; }
inline i32x16 upper_codes(i32x16 x) {
  return {half_codes(_mm256_srli_epi16(x.a, 4)), half_codes(_mm256_srli_epi16(x.b, 4))};
}

// 16 signed bytes, one for each lane.
inline i32x16 iload_bytes(const std::byte* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
}

// Each of a lane's four bytes times the lane's factor; what does not fit a byte is cut off.
inline __m256i scale_half(__m256i x, __m256i factor) {
  const __m256i lower = _mm256_set1_epi16(0x00ff);
  const __m256i pairs = _mm256_blend_epi16(factor, _mm256_slli_epi32(factor, 16), 0xaa);
  const __m256i even = _mm256_and_si256(_mm256_mullo_epi16(x, pairs), lower);
  return _mm256_or_si256(even, _mm256_mullo_epi16(_mm256_andnot_si256(lower, x), pairs));
}
inline i32x16 scale_bytes(i32x16 x, i32x16 factor) { return {scale_half(x.a, factor.a), scale_half(x.b, factor.b)}; }

inline unsigned flush_subnormals() {
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040u);  // flush to zero, and take subnormals as zero, as AMX does
  return saved;
}
inline void restore_subnormals(unsigned saved) { _mm_setcsr(saved); }
inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

}  // namespace
