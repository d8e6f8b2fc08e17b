#include "workspace.h"

namespace inkfish {
namespace {

constexpr int kApart = 16;  // floats between rows: widths of whole pages would share one set of the cache

}  // namespace

void Workspace::grow(const Shape& shape, Type type, const PageLayout& layout, int rows, int positions) {
  const std::size_t tall = round_up(rows, 2 * kTileRows);
  const std::size_t padded = round_up(positions, kPanel);
  const std::size_t operand_row = std::size_t(steps_for(type, std::max(shape.channels, shape.inner))) * 4;
  x_stride = round_up(shape.channels, kPanel) + kApart;
  qkv_stride = round_up(3 * shape.channels, kPanel) + kApart;
  hidden_stride = round_up(shape.inner, kPanel) + kApart;

  x.grow(tall * x_stride * 4);
  qkv.grow(tall * qkv_stride * 4);
  attended.grow(tall * x_stride * 4);
  hidden.grow(tall * hidden_stride * 4);
  operand.grow(tall * operand_row);
  scales.grow(tall * 4);
  const std::size_t block = std::min<std::size_t>(tall, kAttentionRows);
  for (Scratch& mine : scratch) {
    mine.row.grow(std::max(x_stride, std::size_t(round_up(shape.head_size(), kPanel))) * 4);
    mine.operand.grow(std::size_t(layout.key_steps()) * 4);
    mine.sums.grow(tall * kPanel * 4);
    if (type == Type::int4) mine.unpacked.grow(std::size_t(kStepBlock) * kStepBytes);
    mine.query.grow(block * layout.key_steps() * 4);
    mine.scores.grow(block * padded * 4);
    mine.weights.grow(block * padded * bytes_per_value(layout.type));
  }
}

}  // namespace inkfish
