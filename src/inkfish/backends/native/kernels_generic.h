// The inner loops of `kernels.h`, written once over the 16-lane vectors of the `simd_*.h` included before this file.
//
// Everything stands in an unnamed namespace, and nothing of the standard library that would be emitted as a function is
// used: code compiled for one instruction set must never be what the linker picks for another.
#pragma once

#include "kernels.h"

namespace {

using inkfish::Epilogue;
using inkfish::Finish;
using inkfish::kBlockBytes;
using inkfish::Kernels;
using inkfish::kPanel;
using inkfish::kScaleBytes;
using inkfish::kScaleSteps;
using inkfish::kStepAlign;
using inkfish::kStepBytes;
using inkfish::Matrix;
using inkfish::Type;

constexpr int kAhead = 16 * kStepBytes;  // how far to prefetch: beyond a page, where the hardware does not look

// ---------------------------------------------------------------------------------------------------------- reductions

inline float sum(f32x16 x) {
  x = add(x, swap<8>(x));
  x = add(x, swap<4>(x));
  x = add(x, swap<2>(x));
  return first_lane(add(x, swap<1>(x)));
}

inline float largest(f32x16 x) {
  x = max(x, swap<8>(x));
  x = max(x, swap<4>(x));
  x = max(x, swap<2>(x));
  return first_lane(max(x, swap<1>(x)));
}

// --------------------------------------------------------------------------------------------------------- exponential

// e^x within two units in the last place: x = n · ln 2 + r, and a polynomial in |r| <= ln 2 / 2 (Cephes' coefficients).
inline f32x16 exponential(f32x16 x) {
  x = min(max(x, set(-87.0f)), set(88.0f));
  const i32x16 n = round_to_int(mul(x, set(1.44269504088896341f)));
  f32x16 r = fma(to_float(n), set(-0.693359375f), x);
  r = fma(to_float(n), set(2.12194440e-4f), r);
  f32x16 p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = add(fma(mul(r, r), p, r), set(1.0f));
  return as_float(iadd(as_int(p), shift_left(n, 23)));
}

// GELU in its tanh approximation: 0.5 x (1 + tanh u) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
inline f32x16 gelu(f32x16 x) {
  const f32x16 slope = fma(mul(x, x), set(-2 * 0.7978845608028654f * 0.044715f), set(-2 * 0.7978845608028654f));
  return div(x, add(set(1.0f), exponential(mul(x, slope))));
}

// ----------------------------------------------------------------------------------------------------- matrix products

template <class T>
inline T read(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

struct Float32 {
  using Vector = f32x16;
  using Sum = float;
  static Vector nothing() { return zero(); }
  static Vector resume(const Sum* p) { return load(p); }
  static void keep(Sum* p, Vector x) { store(p, x); }
  static Vector weights(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
  static Vector broadcast(const std::byte* p) { return set(read<float>(p)); }
  static Vector step(Vector x, Vector w, Vector c) { return fma(x, w, c); }
};

struct Int8 {
  using Vector = i32x16;
  using Sum = std::int32_t;
  static Vector nothing() { return izero(); }
  static Vector resume(const Sum* p) { return iload(p); }
  static void keep(Sum* p, Vector x) { istore(p, x); }
  static Vector weights(const std::byte* p) { return iload(p); }
  static Vector broadcast(const std::byte* p) { return iset(read<std::int32_t>(p)); }
  static Vector step(Vector x, Vector w, Vector c) { return dot(x, w, c); }
};

// float32 and int8: R rows against one panel, 2 R vectors of sums that stay in registers over all steps.
template <class T>
struct Chain {
  using Sum = typename T::Sum;

  template <int R>
  static inline void tile(const std::byte* panel, const std::byte* x, std::size_t x_stride, int steps, bool first,
                          Sum* sums) {
    typename T::Vector c[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      c[r][0] = first ? T::nothing() : T::resume(sums + r * kPanel);
      c[r][1] = first ? T::nothing() : T::resume(sums + r * kPanel + 16);
    }
    for (int s = 0; s < steps; ++s, panel += kStepBytes) {
      prefetch(panel + kAhead);
      prefetch(panel + kAhead + 64);
      const typename T::Vector w0 = T::weights(panel), w1 = T::weights(panel + 64);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const typename T::Vector a = T::broadcast(x + r * x_stride + 4 * s);
        c[r][0] = T::step(a, w0, c[r][0]);
        c[r][1] = T::step(a, w1, c[r][1]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      T::keep(sums + r * kPanel, c[r][0]);
      T::keep(sums + r * kPanel + 16, c[r][1]);
    }
  }
};

// bfloat16: sums of their own for even and odd inputs, folded into `sums` after every 16 steps.
struct Pairs {
  using Sum = float;

  template <int R>
  static inline void tile(const std::byte* panel, const std::byte* x, std::size_t x_stride, int steps, bool first,
                          float* sums) {
    for (int start = 0; start < steps; start += kStepAlign) {
      f32x16 c[R][4];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) c[r][0] = c[r][1] = c[r][2] = c[r][3] = zero();
      for (int s = start; s < start + kStepAlign; ++s, panel += kStepBytes) {
        prefetch(panel + kAhead);
        prefetch(panel + kAhead + 64);
        const i32x16 w0 = iload(panel), w1 = iload(panel + 64);
        const f32x16 even0 = even(w0), odd0 = odd(w0), even1 = even(w1), odd1 = odd(w1);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const i32x16 a = iset(read<std::int32_t>(x + r * x_stride + 4 * s));
          const f32x16 a_even = even(a), a_odd = odd(a);
          c[r][0] = fma(a_even, even0, c[r][0]);
          c[r][1] = fma(a_odd, odd0, c[r][1]);
          c[r][2] = fma(a_even, even1, c[r][2]);
          c[r][3] = fma(a_odd, odd1, c[r][3]);
        }
      }
      const bool fresh = first && start == 0;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        float* row = sums + r * kPanel;
        store(row, add(fresh ? zero() : load(row), add(c[r][0], c[r][1])));
        store(row + 16, add(fresh ? zero() : load(row + 16), add(c[r][2], c[r][3])));
      }
    }
  }
};

// int4: sums of their own for the codes that share a scale.
struct Codes {
  using Sum = std::int32_t;

  template <int R>
  static inline void tile(const std::byte* panel, const std::byte* x, std::size_t x_stride, int steps, bool first,
                          Sum* sums) {
    i32x16 c[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      c[r][0] = first ? izero() : iload(sums + r * kPanel);
      c[r][1] = first ? izero() : iload(sums + r * kPanel + 16);
    }
    for (int start = 0; start < steps; start += kStepAlign, panel += kBlockBytes) {
      prefetch(panel + kAhead);
      prefetch(panel + kAhead + 64);
      const std::byte* pair = panel + kScaleBytes;  // of steps
      for (int group = 0; group < kStepAlign / kScaleSteps; ++group) {
        i32x16 part[R][2];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) part[r][0] = part[r][1] = izero();
#pragma GCC unroll 2
        for (int i = 0; i < kScaleSteps; i += 2, pair += kStepBytes) {
          prefetch(pair + kAhead);
          prefetch(pair + kAhead + 64);
          const i32x16 w0 = iload(pair), w1 = iload(pair + 64);
          const std::byte* step = x + 4 * (start + group * kScaleSteps + i);
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            const i32x16 a = iset(read<std::int32_t>(step + r * x_stride));
            const i32x16 b = iset(read<std::int32_t>(step + r * x_stride + 4));
            part[r][0] = dot(b, upper_codes(w0), dot(a, lower_codes(w0), part[r][0]));
            part[r][1] = dot(b, upper_codes(w1), dot(a, lower_codes(w1), part[r][1]));
          }
        }
        const std::byte* scales = panel + group * kPanel;
        const i32x16 scale0 = iload_bytes(scales), scale1 = iload_bytes(scales + 16);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          c[r][0] = iadd(c[r][0], imul(part[r][0], scale0));
          c[r][1] = iadd(c[r][1], imul(part[r][1], scale1));
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      istore(sums + r * kPanel, c[r][0]);
      istore(sums + r * kPanel + 16, c[r][1]);
    }
  }
};

// The rows that are left over after whole tiles: fewer than R + 1.
template <class T, int R>
inline void last_tile(const std::byte* panel, const std::byte* x, std::size_t x_stride, int rows, int steps, bool first,
                      typename T::Sum* sums) {
  if (rows == R) return T::template tile<R>(panel, x, x_stride, steps, first, sums);
  if constexpr (R > 1) last_tile<T, R - 1>(panel, x, x_stride, rows, steps, first, sums);
}

template <class T, int R>
void accumulate(const std::byte* panel, const std::byte* x, std::size_t x_stride, int rows, int steps, bool first,
                void* out) {
  auto* sums = static_cast<typename T::Sum*>(out);
  for (; rows >= R; rows -= R, x += R * x_stride, sums += R * kPanel) {
    T::template tile<R>(panel, x, x_stride, steps, first, sums);
  }
  if (rows > 0) last_tile<T, R>(panel, x, x_stride, rows, steps, first, sums);
}

void unpack(const std::byte* panel, int steps, std::byte* out) {
  for (int start = 0; start < steps; start += kStepAlign, panel += kBlockBytes) {
    const std::byte* pair = panel + kScaleBytes;
    for (int s = 0; s < kStepAlign; s += 2, pair += kStepBytes, out += 2 * kStepBytes) {
      prefetch(pair + kAhead);
      prefetch(pair + kAhead + 64);
      for (int half = 0; half < 2; ++half) {
        const i32x16 scale = iload_bytes(panel + s / kScaleSteps * kPanel + half * 16);
        const i32x16 both = iload(pair + half * 64);
        istore(out + half * 64, scale_bytes(lower_codes(both), scale));
        istore(out + kStepBytes + half * 64, scale_bytes(upper_codes(both), scale));
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------------ operands

// Rows are padded with zeros to a multiple of 32 floats, so whole vectors can be read up to there.

float encode_float32(const float* x, int n, int steps, std::byte* out) {
  auto* p = reinterpret_cast<float*>(out);
  for (int i = 0; i < steps; i += 16) store(p + i, i < n ? load(x + i) : zero());
  return 1.0f;
}

float encode_bfloat16(const float* x, int n, int steps, std::byte* out) {
  for (int i = 0; i < 2 * steps; i += 16) store_bfloat16(out + 2 * i, i < n ? load(x + i) : zero());
  return 1.0f;
}

// Symmetric, the row's largest magnitude becoming 127.
float encode_int8(const float* x, int n, int steps, std::byte* out) {
  f32x16 magnitude = zero();
  for (int i = 0; i < n; i += 16) magnitude = max(magnitude, abs(load(x + i)));
  const float peak = largest(magnitude);
  const f32x16 factor = set(peak > 1e-30f ? 127.0f / peak : 0.0f);
  for (int i = 0; i < 4 * steps; i += 16) {
    store_int8(out + i, i < n ? round_to_int(mul(load(x + i), factor)) : izero());
  }
  return peak > 1e-30f ? peak / 127.0f : 0.0f;
}

void normalise(const float* x, const float* weight, const float* bias, int n, float epsilon, float* out) {
  f32x16 total = zero();
  for (int i = 0; i < n; i += 16) total = add(total, load(x + i));
  const f32x16 mean = set(sum(total) / float(n));
  f32x16 squares = zero();
  for (int i = 0; i < n; i += 16) {
    const f32x16 centred = select_below(n - i, sub(load(x + i), mean), zero());
    squares = fma(centred, centred, squares);
  }
  const f32x16 factor = set(1.0f / __builtin_sqrtf(sum(squares) / float(n) + epsilon));
  for (int i = 0; i < inkfish::round_up(n, kPanel); i += 16) {
    const f32x16 scaled = mul(sub(load(x + i), mean), factor);
    store(out + i, select_below(n - i, fma(scaled, load(weight + i), load(bias + i)), zero()));
  }
}

// ------------------------------------------------------------------------------------------------------------ epilogue

// The 16 values of one row from output n on, before the bias.
template <Type type>
inline f32x16 values(const void* sums, std::size_t at, const Matrix& matrix, int n, float row_scale) {
  if constexpr (type == Type::int8) {
    const i32x16 offset = imul(iload(matrix.totals + n), iset(kInt8Offset));
    const i32x16 exact = isub(iload(static_cast<const std::int32_t*>(sums) + at), offset);
    return mul(to_float(exact), mul(set(row_scale), load(matrix.scales + n)));
  } else {
    return load(static_cast<const float*>(sums) + at);
  }
}

inline void put(float* out, int count, f32x16 x) {
  if (count >= 16) return store(out, x);
  float lanes[16];
  store(lanes, x);
  for (int i = 0; i < count; ++i) out[i] = lanes[i];
}

inline f32x16 get(const float* p, int count) {
  if (count >= 16) return load(p);
  float lanes[16] = {};
  for (int i = 0; i < count; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <Type type, Finish kind>
void finish_as(const void* sums, int rows, const Matrix& matrix, int n0, const Epilogue& e) {
  for (int r = 0; r < rows; ++r) {
    const float row_scale = type == Type::int8 ? e.row_scales[r] : 1.0f;
    for (int half = 0; half < kPanel; half += 16) {
      const int n = n0 + half, count = matrix.outputs - n;
      if (count <= 0) break;
      f32x16 y = values<type>(sums, std::size_t(r) * kPanel + half, matrix, n, row_scale);
      if (matrix.bias) y = add(y, load(matrix.bias + n));
      float* out = e.out + r * e.stride + n;
      if constexpr (kind == Finish::gelu) y = gelu(y);
      if constexpr (kind == Finish::add) y = add(y, get(out, count));
      put(out, count, y);
    }
  }
}

template <Type type>
void finish_type(const void* sums, int rows, const Matrix& matrix, int n0, const Epilogue& e) {
  if (e.finish == Finish::gelu) return finish_as<type, Finish::gelu>(sums, rows, matrix, n0, e);
  if (e.finish == Finish::add) return finish_as<type, Finish::add>(sums, rows, matrix, n0, e);
  finish_as<type, Finish::store>(sums, rows, matrix, n0, e);
}

void finish(Type type, const void* sums, int rows, const Matrix& matrix, int n0, const Epilogue& e) {
  if (type == Type::float32) return finish_type<Type::float32>(sums, rows, matrix, n0, e);
  if (type == Type::bfloat16) return finish_type<Type::bfloat16>(sums, rows, matrix, n0, e);
  finish_type<Type::int8>(sums, rows, matrix, n0, e);
}

// ------------------------------------------------------------------------------------------------------------- softmax

float weigh(Type type, const float* scores, std::size_t stride, int visible, int padded, float scale, std::byte* out) {
  const auto at = [=](int j) { return scores + std::size_t(j / kPanel) * stride + j % kPanel; };
  const f32x16 lowest = set(-3.0e38f);
  f32x16 peaks = lowest;
  for (int j = 0; j < visible; j += 16) peaks = max(peaks, select_below(visible - j, load(at(j)), lowest));
  const f32x16 peak = set(largest(peaks));
  f32x16 total = zero();
  for (int j = 0; j < padded; j += 16) {
    f32x16 e = zero();
    if (j < visible) e = select_below(visible - j, exponential(mul(sub(load(at(j)), peak), set(scale))), zero());
    total = add(total, e);
    if (type == Type::float32) {
      store(reinterpret_cast<float*>(out) + j, e);
    } else {
      store_bfloat16(out + 2 * j, e);
    }
  }
  return sum(total);
}

double total(const float* x, int n, float peak, float scale) {
  double whole = 0;
  for (int i = 0; i < n; i += 256) {  // short float32 sums, so that their rounding stays near 1e-7
    f32x16 part = zero();
    for (int j = i; j < n && j < i + 256; j += 16) {
      const f32x16 e = exponential(mul(sub(get(x + j, n - j), set(peak)), set(scale)));
      part = add(part, select_below(n - j, e, zero()));
    }
    whole += double(sum(part));
  }
  return whole;
}

unsigned begin() { return flush_subnormals(); }
void end(unsigned saved) { restore_subnormals(saved); }

constexpr Kernels kKernels = {
    .begin = begin,
    .end = end,
    .accumulate = {accumulate<Chain<Float32>, kRows>, accumulate<Pairs, kRowsBfloat16>, accumulate<Chain<Int8>, kRows>,
                   accumulate<Codes, kRowsBfloat16>},
    .unpack = unpack,
    .encode = {encode_float32, encode_bfloat16, encode_int8},
    .normalise = normalise,
    .finish = finish,
    .weigh = weigh,
    .total = total,
};

}  // namespace
