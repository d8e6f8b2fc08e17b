// Vectors of 16 lanes in plain C++ with the vector extension of GCC and Clang: SSE2, NEON or whatever the target has.
#pragma once

#include <cmath>
#include <cstring>

#include "layout.h"

namespace {

#if defined(__aarch64__)
constexpr int kRows = 3;  // 32 registers of four lanes
#else
constexpr int kRows = 1;
#endif
constexpr int kRowsBfloat16 = 1;
constexpr int kInt8Offset = 0;

typedef float f32x16 __attribute__((vector_size(64)));
typedef std::int32_t i32x16 __attribute__((vector_size(64)));
typedef std::uint32_t u32x16 __attribute__((vector_size(64)));

inline f32x16 zero() { return f32x16{}; }
inline f32x16 set(float x) { return f32x16{} + x; }
inline f32x16 load(const float* p) {
  f32x16 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, f32x16 x) { std::memcpy(p, &x, sizeof x); }
inline f32x16 add(f32x16 a, f32x16 b) { return a + b; }
inline f32x16 sub(f32x16 a, f32x16 b) { return a - b; }
inline f32x16 mul(f32x16 a, f32x16 b) { return a * b; }
inline f32x16 div(f32x16 a, f32x16 b) { return a / b; }
inline f32x16 max(f32x16 a, f32x16 b) { return a > b ? a : b; }
inline f32x16 min(f32x16 a, f32x16 b) { return a < b ? a : b; }
inline f32x16 abs(f32x16 a) { return (f32x16)((i32x16)a & 0x7fffffff); }

// Where the machine has no fused multiply-add, two roundings: consistent within the machine, which is what counts.
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
#ifdef FP_FAST_FMAF
  for (int i = 0; i < 16; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#else
  return a * b + c;
#endif
}
inline float first_lane(f32x16 x) { return x[0]; }

// Lanes below n of a, the others from b.
inline f32x16 select_below(int n, f32x16 a, f32x16 b) {
  const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lanes < n ? a : b;
}

// Lane i becomes lane i ^ distance, distance 8, 4, 2 or 1.
template <int distance>
inline f32x16 swap(f32x16 x) {
  f32x16 y;
  for (int i = 0; i < 16; ++i) y[i] = x[i ^ distance];
  return y;
}

inline i32x16 izero() { return i32x16{}; }
inline i32x16 iset(int x) { return i32x16{} + x; }
inline i32x16 iload(const void* p) {
  i32x16 x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void istore(void* p, i32x16 x) { std::memcpy(p, &x, sizeof x); }
inline i32x16 iadd(i32x16 a, i32x16 b) { return (i32x16)((u32x16)a + (u32x16)b); }
inline i32x16 isub(i32x16 a, i32x16 b) { return (i32x16)((u32x16)a - (u32x16)b); }
inline i32x16 imul(i32x16 a, i32x16 b) { return (i32x16)((u32x16)a * (u32x16)b); }
inline i32x16 shift_left(i32x16 a, int n) { return (i32x16)((u32x16)a << unsigned(n)); }

// Round to nearest even: at 1.5 · 2^23 a float has no fraction left. Beyond ±2^22 the result is arbitrary but defined.
inline i32x16 round_to_int(f32x16 a) {
  constexpr float kMagic = 12582912.0f;
  return (i32x16)((u32x16)(a + kMagic) - 0x4b400000u);
}
inline f32x16 to_float(i32x16 a) { return __builtin_convertvector(a, f32x16); }
inline f32x16 as_float(i32x16 a) { return (f32x16)a; }
inline i32x16 as_int(f32x16 a) { return (i32x16)a; }

// The even and the odd of 16 pairs of bfloat16 (of a little-endian machine).
inline f32x16 even(i32x16 a) { return as_float(shift_left(a, 16)); }
inline f32x16 odd(i32x16 a) { return (f32x16)((u32x16)a & 0xffff0000u); }

// Round to nearest even; a NaN stays one.
inline void store_bfloat16(std::byte* p, f32x16 x) {
  const u32x16 bits = (u32x16)x;
  const u32x16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  for (int i = 0; i < 16; ++i) {
    const auto value = std::uint16_t(x[i] == x[i] ? rounded[i] : 0x7fc0u);
    std::memcpy(p + 2 * i, &value, 2);
  }
}

inline void store_int8(std::byte* p, i32x16 x) {
  for (int i = 0; i < 16; ++i) p[i] = std::byte(x[i]);
}

// c += the dot product of four int8 weights with four activations, lane by lane.
inline i32x16 dot(i32x16 x, i32x16 w, i32x16 c) {
  c = iadd(c, (x >> 24) * (w >> 24));
  c = iadd(c, (shift_left(x, 8) >> 24) * (shift_left(w, 8) >> 24));
  c = iadd(c, (shift_left(x, 16) >> 24) * (shift_left(w, 16) >> 24));
  return iadd(c, (shift_left(x, 24) >> 24) * (shift_left(w, 24) >> 24));
}

// 64 codes of four bits: those in the lower and in the upper halves of 64 bytes.
typedef signed char i8x64 __attribute__((vector_size(64)));
inline i32x16 lower_codes(i32x16 x) { return (i32x16)((i8x64)(x & 0x0f0f0f0f) - 8); }
inline i32x16 upper_codes(i32x16 x) { return lower_codes(x >> 4); }

// 16 signed bytes, one for each lane.
inline i32x16 iload_bytes(const std::byte* p) {
  i32x16 x;
  for (int i = 0; i < 16; ++i) x[i] = std::int8_t(p[i]);
  return x;
}

// Each of a lane's four bytes times the lane's factor; what does not fit a byte is cut off.
inline i32x16 scale_bytes(i32x16 x, i32x16 factor) {
  constexpr std::uint32_t kEven = 0x00ff00ffu;
  const u32x16 bytes = (u32x16)x, times = (u32x16)factor & 0xffu;  // so that no product reaches the one above it
  return (i32x16)((((bytes & kEven) * times) & kEven) | ((((bytes >> 8) & kEven) * times & kEven) << 8));
}

inline unsigned flush_subnormals() { return 0; }
inline void restore_subnormals(unsigned) {}
inline void prefetch(const void* p) { __builtin_prefetch(p); }

}  // namespace
