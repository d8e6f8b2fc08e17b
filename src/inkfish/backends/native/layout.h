// How weights, activations, keys and values lie in memory.
//
// A matrix of N outputs × K inputs is cut into *panels* of 32 outputs. A panel is a run of *steps* of 128 bytes: 32
// outputs × 4 bytes, where the 4 bytes are one float32, two bfloat16 or four int8 values of consecutive inputs. So one
// step always meets 4 bytes of an activation row, whatever the type: a broadcast of 32 bits against two cache lines.
// 16 steps are exactly two AMX tiles (16 rows × 64 bytes), and every kernel reads a panel front to back.
//
// An *operand* is a matrix of activations, encoded in the type of the weights, row after row; a row is `steps` × 4
// bytes. Panels and operands are padded with zeros: outputs to 32, steps to 16.
//
// An int4 panel holds int8 values in half the room: value = scale × code, where a code has four bits (-8 to 7, stored
// with 8 added) and a scale of ±15 belongs to 16 inputs of an output. A *block* of 16 steps is 4 × 32 scales, those of
// the first 16 inputs first, and the codes of 8 pairs of steps, the second step of a pair in the upper halves of 128
// bytes. The operand is int8's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inkfish {

enum class Type : int { float32 = 0, bfloat16 = 1, int8 = 2, int4 = 3 };

constexpr int kPanel = 32;       // outputs in a panel
constexpr int kStepBytes = 128;  // bytes of one step of a panel: kPanel × 4
constexpr int kStepAlign = 16;   // steps are padded to this many: the depth of an AMX tile, and of bfloat16's sums
constexpr int kTileRows = 16;    // operands and sums have room for rows rounded up to this many: an AMX tile's height
constexpr int kScaleSteps = 4;   // int4: steps that share a scale
constexpr int kScaleBytes = kStepAlign / kScaleSteps * kPanel;             // int4: a block's scales
constexpr int kBlockBytes = kScaleBytes + kStepAlign / 2 * kStepBytes;  // int4: and its codes
constexpr int kMaxInt8Inputs = 65536;  // 65536 × 255 × 127 still fits an int32

constexpr int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// The type of the activations that meet such weights, of their sums, and of the embedding beside them.
constexpr Type computed(Type type) { return type == Type::int4 ? Type::int8 : type; }

// Inputs in one step.
constexpr int group(Type type) { return type == Type::float32 ? 1 : type == Type::bfloat16 ? 2 : 4; }

constexpr int bytes_per_value(Type type) { return 4 / group(type); }  // of an operand

// Steps that hold `inputs` values, padding included.
constexpr int steps_for(Type type, int inputs) {
  return round_up((inputs + group(type) - 1) / group(type), kStepAlign);
}

// One linear layer: y = x · W (· scale) + bias.
struct Matrix {
  Type type = Type::float32;
  const std::byte* panels = nullptr;
  const float* scales = nullptr;        // int8 and int4: one for each output
  const std::int32_t* totals = nullptr;  // int8 and int4: the sum of each output's weights
  const float* bias = nullptr;          // null for the head
  int outputs = 0;
  int inputs = 0;
  int steps = 0;

  int panel_count() const { return (outputs + kPanel - 1) / kPanel; }
  // The bytes of a panel's first steps, a multiple of 16.
  std::size_t bytes(int first) const {
    return type == Type::int4 ? std::size_t(first / kStepAlign) * kBlockBytes : std::size_t(first) * kStepBytes;
  }
  std::size_t panel_bytes() const { return bytes(steps); }
};

}  // namespace inkfish
