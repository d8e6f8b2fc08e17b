// A GPT-2 over weights that somebody else holds in memory, with slots that hold sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "cache.h"
#include "isa.h"
#include "pool.h"

namespace inkfish {

struct Shape {
  int layers, heads, channels, positions, vocabulary, inner;
  float epsilon;

  int head_size() const { return channels / heads; }
};

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

struct Block {
  Norm before_attention, before_mlp;
  Matrix attention, projection, expansion, contraction;  // c_attn, attn.c_proj, c_fc, mlp.c_proj
};

struct Weights {
  Matrix embedding;  // also the head
  const float* positions = nullptr;
  std::vector<Block> blocks;
  Norm last;
};

enum class Status : int {
  done = 0,
  out_of_memory = 1,
  unknown_slot = 2,
  repeated_slot = 3,
  unknown_id = 4,
  context_full = 5,
  too_long = 6,
  forked = 7,
  bad_weights = 8,
  damaged = 9,
  no_ids = 10,
};

// One call of `Model::forward`: for each of `runs` distinct slots, counts[i] ids to append.
struct Request {
  int runs = 0;
  const std::int32_t* slots = nullptr;
  const std::int32_t* counts = nullptr;
  const std::int32_t* ids = nullptr;       // of all runs, one after the other
  const std::int32_t* segments = nullptr;  // null, or for each id another id or -1
  bool every = false;                      // logits after each id, not only after each run
};

// The k largest logits of a row in the order (logit descending, id ascending), and what turns them into probabilities.
struct Top {
  int k = 0;
  const float* temperatures = nullptr;  // of each row
  float* values = nullptr;              // rows × k
  std::int32_t* ids = nullptr;          // rows × k
  // Of each row, the sum over the vocabulary of e^((logit - largest) / temperature): at temperature 1, and at its own.
  double* totals = nullptr;
  double* scaled_totals = nullptr;
};

struct Piece;
struct Chunk;
struct Workspace;

class Model {
 public:
  // `weights` points into memory that outlives the model. Throws std::bad_alloc or std::system_error.
  Model(const Shape& shape, Type type, Weights weights, int threads, const Kernels& kernels);
  ~Model();

  // Whether this process made the threads: after a fork the child has the model, but not them.
  bool owned() const;

  // The number of a new, empty slot. Throws std::bad_alloc.
  int allocate();
  Status length(int slot, int* out);
  Status copy(int source, int target, int length);
  Status truncate(int slot, int length);
  Status free(int slot);

  // Append ids. Logits are rows × vocabulary; `top` may be null. Nothing is appended on failure.
  Status forward(const Request& request, float* logits, const Top* top);

 private:
  bool known(int slot) const;
  Status check(const Request& request) const;
  void advance(const Request& request, float* logits, const Top* top);

  void compute(const Chunk& chunk);
  void embed(const Chunk& chunk, int row, float* out) const;
  void encode(const float* source, std::size_t stride, int rows, int n, const Norm* norm, int steps);
  void linear(const Matrix& matrix, int rows, Finish finish, float* out, std::size_t out_stride);
  void attention(const Chunk& chunk, int layer);
  const float* whole_panels(const float* part, int thread);
  void remember(const Piece& piece, int layer, int head, int first, int count, int thread);
  void attend(const Piece& piece, int layer, int head, int first, int count, int thread);
  void head(const Chunk& chunk);

  const Shape shape_;
  const Type type_;
  const Weights weights_;
  const PageLayout layout_;
  const Kernels& kernels_;
  const int owner_;  // the process that has the threads
  Pool pool_;
  bool alone_ = false;  // whether the pass at hand is too small to share
  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::unique_ptr<Workspace> work_;
};

}  // namespace inkfish
