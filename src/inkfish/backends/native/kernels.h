// The table of inner loops that each instruction set fills in. `kernels_generic.h` holds the loops, written once over
// vectors of 16 lanes; `simd_*.h` say what such a vector is; `kernels_*.cpp` compile them with that set's flags.
//
// One arithmetic definition for each type, so that a token's logits are the same bits alone, in a batch, in one chunk
// or in many, and on every instruction set that has a fused multiply-add:
//   float32   one chain of fused multiply-adds for each output, inputs ascending.
//   bfloat16  both factors rounded to bfloat16; for every 32 inputs one float32 chain over the even inputs and one over
//             the odd ones, each from zero; then sum += even + odd. It is what the AMX instruction TDPBF16PS does
//             (Intel SDM), subnormal numbers taken as zero.
//   int8      exact integer sums, in any order.
//   int4      the same: its weights are int8 values, kept in half the room.
// Blocking over inputs is free to differ, because partial sums are stored and taken up again.
#pragma once

#include "layout.h"

namespace inkfish {

// What becomes of the sums of one panel.
enum class Finish : int { store = 0, gelu = 1, add = 2 };

struct Epilogue {
  Finish finish = Finish::store;
  float* out = nullptr;                 // row r, output n at out[r * stride + n]
  std::size_t stride = 0;
  const float* row_scales = nullptr;    // int8: the operand's scale of each row
};

// sums[r * 32 + n] = (first ? 0 : itself) + sum over `steps` steps of x · panel. float32 or, for int8 and int4, int32.
using Accumulate = void (*)(const std::byte* panel, const std::byte* x, std::size_t x_stride, int rows, int steps,
                            bool first, void* sums);

struct Kernels {
  // Set up and restore a thread: subnormals are zero, AMX tiles are configured. `begin` returns what `end` wants back.
  unsigned (*begin)();
  void (*end)(unsigned saved);

  Accumulate accumulate[4];  // by Type

  // Write steps of an int4 panel as those of an int8 panel.
  void (*unpack)(const std::byte* panel, int steps, std::byte* out);

  // Encode n floats as an operand row of `steps` steps; returns the row's scale (1 unless int8).
  float (*encode[3])(const float* x, int n, int steps, std::byte* out);

  // Layer norm of n channels; out is padded with zeros to a multiple of 32.
  void (*normalise)(const float* x, const float* weight, const float* bias, int n, float epsilon, float* out);

  // Bias, scales, GELU or residual for one panel's sums, rows × 32, whose first output is n0.
  void (*finish)(Type type, const void* sums, int rows, const Matrix& matrix, int n0, const Epilogue& epilogue);

  // Attention weights of one row: scores of position j at scores[j / 32 * stride + j % 32]. Writes exp(scale · (s −
  // max)), zero from `visible` on, as an operand of `padded` positions (a multiple of 32); returns the sum of what it
  // wrote.
  float (*weigh)(Type type, const float* scores, std::size_t stride, int visible, int padded, float scale,
                 std::byte* out);

  // The sum of exp(scale · (x − peak)) over n values; peak is the largest of them.
  double (*total)(const float* x, int n, float peak, float scale);
};

const Kernels* plain_kernels();
const Kernels* avx2_kernels();
const Kernels* avxvnni_kernels();
const Kernels* avx512_kernels();
const Kernels* amx_kernels();

}  // namespace inkfish
