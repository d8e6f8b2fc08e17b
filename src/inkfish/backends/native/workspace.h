// The memory that a forward pass works in. It grows to the largest pass seen and is then used again.
#pragma once

#include <algorithm>
#include <vector>

#include "model.h"

namespace inkfish {

constexpr int kChunkRows = 256;     // rows that go through the layers together
constexpr int kStepBlock = 512;     // steps of a panel (64 KiB) that many rows go through before the next ones
constexpr int kAttentionRows = 32;  // query rows of one attention task: two AMX tiles

// New positions of one slot, within a chunk.
struct Piece {
  Slot* slot;
  int start;  // position of the first
  int row;    // its row in the chunk
  int count;
};

// Rows that go through the layers together, and where their logits go.
struct Chunk {
  std::vector<Piece> pieces;
  int rows = 0;
  const std::int32_t* ids = nullptr;
  const std::int32_t* segments = nullptr;
  std::vector<int> wanted;  // rows whose logits are wanted
  float* logits = nullptr;  // wanted × vocabulary
  const Top* top = nullptr;
};

// An array of floats or bytes that only grows; what is new is zero.
class Buffer {
 public:
  void grow(std::size_t bytes) {
    if (bytes <= size_) return;
    bytes_.reset();
    size_ = 0;
    bytes_ = zeroed(bytes);
    size_ = bytes;
  }
  float* floats() const { return reinterpret_cast<float*>(bytes_.get()); }
  std::byte* bytes() const { return bytes_.get(); }

 private:
  Bytes bytes_;
  std::size_t size_ = 0;
};

// What a thread has for itself.
struct Scratch {
  Buffer row;      // a row, normalised or of one head
  Buffer operand;  // a key or value as an operand
  Buffer sums;     // kChunkRows × 32
  Buffer unpacked;  // int4: kStepBlock steps as int8
  Buffer query, scores, weights;  // attention: operands of the queries, scores, operands of the weights
};

struct Workspace {
  Buffer x, qkv, attended, hidden;  // rows × padded channels; columns beyond a matrix's outputs are never written
  Buffer operand, scales;           // of all rows, in the type of the weights
  std::vector<Scratch> scratch;  // of each thread

  std::size_t x_stride = 0, qkv_stride = 0, hidden_stride = 0;  // in floats

  // Make room for a chunk. `positions` is the longest slot's length after it. Throws std::bad_alloc.
  void grow(const Shape& shape, Type type, const PageLayout& layout, int rows, int positions);
};

}  // namespace inkfish
