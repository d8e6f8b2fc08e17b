#include "model.h"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "top.h"
#include "workspace.h"

namespace inkfish {
namespace {

constexpr int kFewRows = 16;       // with fewer, a panel is read once and there is nothing to block
constexpr int kUnpackRows = 4;     // from as many on, int4 weights are turned into int8 ones first
constexpr int kSplitRows = 128;    // rows of a task where there are too few panels to share out
constexpr std::size_t kAloneBytes = 1 << 15;  // rows × weights of a layer's c_fc below which one thread is faster
constexpr int kClaimBytes = 1 << 17;  // of weights at a time, so that threads meet rarely and each reads a long run

PageLayout page_layout(const Shape& shape, Type type) {
  return {type == Type::float32 ? Type::float32 : Type::bfloat16, shape.layers, shape.heads, shape.head_size()};
}

// One input of one output, as float32.
float weight(const Matrix& matrix, int output, int input) {
  const Type type = matrix.type;
  const int g = group(type);
  const std::byte* p = matrix.panels + output / kPanel * matrix.panel_bytes() +
                       std::size_t(input / g) * kStepBytes + output % kPanel * 4 +
                       input % g * bytes_per_value(type);
  if (type == Type::int8) return float(*reinterpret_cast<const std::int8_t*>(p)) * matrix.scales[output];
  float value = 0;
  auto* high = reinterpret_cast<std::byte*>(&value) + 4 - bytes_per_value(type);  // bfloat16 is float32's upper half
  std::memcpy(high, p, bytes_per_value(type));
  return value;
}

// Copy n numbers to every fourth byte.
template <int bytes>
void spread(const std::byte* from, std::byte* to, int n) {
  for (int i = 0; i < n; ++i) std::memcpy(to + 4 * i, from + bytes * i, bytes);
}

}  // namespace

Model::Model(const Shape& shape, Type type, Weights weights, int threads, const Kernels& kernels)
    : shape_(shape),
      type_(type),
      weights_(std::move(weights)),
      layout_(page_layout(shape, type)),
      kernels_(kernels),
      owner_(int(getpid())),
      pool_(threads, kernels),
      work_(std::make_unique<Workspace>()) {
  work_->scratch.resize(threads);
}

Model::~Model() = default;

bool Model::owned() const { return int(getpid()) == owner_; }

// --------------------------------------------------------------------------------------------------------------- slots

bool Model::known(int slot) const { return slot >= 0 && slot < int(slots_.size()) && slots_[slot].used; }

int Model::allocate() {
  const std::lock_guard lock(mutex_);
  int slot = 0;
  while (known(slot)) ++slot;
  if (slot == int(slots_.size())) slots_.emplace_back();
  slots_[slot].used = true;
  return slot;
}

Status Model::length(int slot, int* out) {
  const std::lock_guard lock(mutex_);
  if (!known(slot)) return Status::unknown_slot;
  *out = slots_[slot].length;
  return Status::done;
}

Status Model::copy(int source, int target, int length) {
  const std::lock_guard lock(mutex_);
  if (!known(source) || !known(target)) return Status::unknown_slot;
  if (length < 0 || length > slots_[source].length) return Status::too_long;
  Slot twin = slots_[source];
  inkfish::truncate(twin, length);
  slots_[target] = std::move(twin);
  return Status::done;
}

Status Model::truncate(int slot, int length) {
  const std::lock_guard lock(mutex_);
  if (!known(slot)) return Status::unknown_slot;
  if (length < 0 || length > slots_[slot].length) return Status::too_long;
  inkfish::truncate(slots_[slot], length);
  return Status::done;
}

Status Model::free(int slot) {
  const std::lock_guard lock(mutex_);
  if (!known(slot)) return Status::unknown_slot;
  slots_[slot] = Slot();
  return Status::done;
}

// ------------------------------------------------------------------------------------------------------------- forward

Status Model::check(const Request& request) const {
  std::vector<bool> seen(slots_.size());
  std::size_t at = 0;
  for (int i = 0; i < request.runs; ++i) {
    const int slot = request.slots[i], count = request.counts[i];
    if (!known(slot)) return Status::unknown_slot;
    if (seen[slot]) return Status::repeated_slot;
    seen[slot] = true;
    if (count < 1) return Status::no_ids;
    if (count > shape_.positions - slots_[slot].length) return Status::context_full;
    for (int j = 0; j < count; ++j, ++at) {
      const int id = request.ids[at], segment = request.segments ? request.segments[at] : -1;
      if (id < 0 || id >= shape_.vocabulary || segment < -1 || segment >= shape_.vocabulary) return Status::unknown_id;
    }
  }
  return request.runs > 0 ? Status::done : Status::no_ids;
}

Status Model::forward(const Request& request, float* logits, const Top* top) {
  const std::lock_guard lock(mutex_);
  if (!owned()) return Status::forked;
  const Status status = check(request);
  if (status != Status::done) return status;
  std::vector<int> lengths(request.runs);
  for (int i = 0; i < request.runs; ++i) lengths[i] = slots_[request.slots[i]].length;
  try {
    advance(request, logits, top);
    return Status::done;
  } catch (...) {
    for (int i = 0; i < request.runs; ++i) inkfish::truncate(slots_[request.slots[i]], lengths[i]);
    throw;
  }
}

// Cut the runs into chunks, and send one after the other through the layers.
void Model::advance(const Request& request, float* logits, const Top* top) {
  std::size_t at = 0, given = 0;  // ids and rows of logits so far
  int run = 0, done = 0;          // the run being cut, and how much of it is
  while (run < request.runs) {
    Chunk chunk;
    int positions = 0;
    while (run < request.runs && chunk.rows < kChunkRows) {
      Slot& slot = slots_[request.slots[run]];
      const int count = std::min(request.counts[run] - done, kChunkRows - chunk.rows);
      reserve(slot, count, layout_);
      chunk.pieces.push_back({&slot, slot.length, chunk.rows, count});
      positions = std::max(positions, slot.length + count);
      done += count;
      const bool whole = done == request.counts[run];
      for (int j = request.every ? 0 : count - 1; j < count; ++j) {
        if (request.every || whole) chunk.wanted.push_back(chunk.rows + j);
      }
      chunk.rows += count;
      if (!whole) break;
      ++run;
      done = 0;
    }
    work_->grow(shape_, type_, layout_, chunk.rows, positions);
    Top part;
    if (top) {
      part = {top->k,
              top->temperatures + given,
              top->values + given * top->k,
              top->ids + given * top->k,
              top->totals + given,
              top->scaled_totals + given};
      chunk.top = &part;
    }
    chunk.ids = request.ids + at;
    chunk.segments = request.segments ? request.segments + at : nullptr;
    chunk.logits = logits + given * shape_.vocabulary;
    compute(chunk);
    for (const Piece& piece : chunk.pieces) piece.slot->length += piece.count;
    at += chunk.rows;
    given += chunk.wanted.size();
  }
}

void Model::compute(const Chunk& chunk) {
  const unsigned saved = kernels_.begin();
  Workspace& w = *work_;
  const int rows = chunk.rows, c = shape_.channels;
  const Matrix& typical = weights_.blocks[0].expansion;
  alone_ = rows * typical.panel_bytes() * typical.panel_count() < kAloneBytes;
  pool_.share(rows, alone_, [&](int row, int) { embed(chunk, row, w.x.floats() + row * w.x_stride); });
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const Block& block = weights_.blocks[layer];
    encode(w.x.floats(), w.x_stride, rows, c, &block.before_attention, block.attention.steps);
    linear(block.attention, rows, Finish::store, w.qkv.floats(), w.qkv_stride);
    attention(chunk, layer);
    encode(w.attended.floats(), w.x_stride, rows, c, nullptr, block.projection.steps);
    linear(block.projection, rows, Finish::add, w.x.floats(), w.x_stride);
    encode(w.x.floats(), w.x_stride, rows, c, &block.before_mlp, block.expansion.steps);
    linear(block.expansion, rows, Finish::gelu, w.hidden.floats(), w.hidden_stride);
    encode(w.hidden.floats(), w.hidden_stride, rows, shape_.inner, nullptr, block.contraction.steps);
    linear(block.contraction, rows, Finish::add, w.x.floats(), w.x_stride);
  }
  if (!chunk.wanted.empty()) head(chunk);
  kernels_.end(saved);
}

void Model::embed(const Chunk& chunk, int row, float* out) const {
  const Piece* piece = chunk.pieces.data();
  while (row >= piece->row + piece->count) ++piece;
  const float* position = weights_.positions + std::size_t(piece->start + row - piece->row) * shape_.channels;
  for (int i = 0; i < shape_.channels; ++i) {
    out[i] = weight(weights_.embedding, chunk.ids[row], i) + position[i];
  }
  if (!chunk.segments || chunk.segments[row] < 0) return;
  for (int i = 0; i < shape_.channels; ++i) out[i] += weight(weights_.embedding, chunk.segments[row], i);
}

// Make rows the operand, after a layer norm if there is one.
void Model::encode(const float* source, std::size_t stride, int rows, int n, const Norm* norm, int steps) {
  Workspace& w = *work_;
  const int height = rows < kFewRows ? 1 : 4;
  pool_.share((rows + height - 1) / height, alone_, [&](int item, int thread) {
    for (int row = item * height; row < std::min(item * height + height, rows); ++row) {
      const float* x = source + row * stride;
      if (norm) {
        float* normal = w.scratch[thread].row.floats();
        kernels_.normalise(x, norm->weight, norm->bias, n, shape_.epsilon, normal);
        x = normal;
      }
      std::byte* out = w.operand.bytes() + std::size_t(row) * steps * 4;
      w.scales.floats()[row] = kernels_.encode[int(computed(type_))](x, n, steps, out);
    }
  });
}

// A linear layer of the operand, shared out by panels; where there are few for so many threads, by blocks of rows too.
void Model::linear(const Matrix& matrix, int rows, Finish finish, float* out, std::size_t out_stride) {
  const int panels = matrix.panel_count();
  const int height = panels >= 4 * pool_.size() ? rows : std::min(rows, kSplitRows);
  const int blocks = (rows + height - 1) / height, tasks = panels * blocks;
  const int share = std::max(1, tasks / (4 * pool_.size()));
  const int batch = std::min(share, std::max(1, int(kClaimBytes / matrix.panel_bytes())));
  const bool unpack = matrix.type == Type::int4 && height >= kUnpackRows;
  const int depth = height <= kFewRows && !unpack ? matrix.steps : kStepBlock;
  const std::size_t stride = std::size_t(matrix.steps) * 4;

  const auto task = [&](int panel, int row, int count, int thread) {
    void* sums = work_->scratch[thread].sums.bytes();
    for (int s = 0; s < matrix.steps; s += depth) {
      const int steps = std::min(depth, matrix.steps - s);
      const std::byte* weights = matrix.panels + panel * matrix.panel_bytes() + matrix.bytes(s);
      if (unpack) {
        kernels_.unpack(weights, steps, work_->scratch[thread].unpacked.bytes());
        weights = work_->scratch[thread].unpacked.bytes();
      }
      kernels_.accumulate[int(unpack ? Type::int8 : matrix.type)](
          weights, work_->operand.bytes() + row * stride + 4 * s, stride, count, steps, s == 0, sums);
    }
    const Epilogue epilogue = {finish, out + row * out_stride, out_stride, work_->scales.floats() + row};
    kernels_.finish(computed(matrix.type), sums, count, matrix, panel * kPanel, epilogue);
  };
  pool_.share((tasks + batch - 1) / batch, alone_, [&](int item, int thread) {
    for (int i = item * batch; i < std::min(item * batch + batch, tasks); ++i) {
      const int row = i % blocks * height;
      task(i / blocks, row, std::min(height, rows - row), thread);
    }
  });
}

// ----------------------------------------------------------------------------------------------------------- attention

// Attention of all new rows: items are a head and up to 32 rows of one slot. What an item needs of its own slot's new
// keys and values it writes itself, if its rows are all there are; else they are written in a loop of their own.
void Model::attention(const Chunk& chunk, int layer) {
  const auto each = [&](int height, auto&& body) {  // rows of a piece × heads, the last rows (the longest pasts) first
    int blocks = 0;
    for (const Piece& piece : chunk.pieces) blocks += (piece.count + height - 1) / height;
    pool_.share(blocks * shape_.heads, alone_, [&](int item, int thread) {
      int block = blocks - 1 - item / shape_.heads;
      const Piece* piece = chunk.pieces.data();
      for (; block >= (piece->count + height - 1) / height; ++piece) block -= (piece->count + height - 1) / height;
      const int first = block * height;
      body(*piece, item % shape_.heads, first, std::min(height, piece->count - first), thread);
    });
  };
  bool whole = true;
  for (const Piece& piece : chunk.pieces) whole = whole && piece.count <= kAttentionRows;
  if (!whole) {
    each(kPagePositions, [&](const Piece& piece, int head, int first, int count, int thread) {
      remember(piece, layer, head, first, count, thread);
    });
  }
  each(kAttentionRows, [&](const Piece& piece, int head, int first, int count, int thread) {
    if (whole) remember(piece, layer, head, first, count, thread);
    attend(piece, layer, head, first, count, thread);
  });
}

// A head's part of a row with zeros up to a whole panel, as operands are encoded from: itself if it needs none.
const float* Model::whole_panels(const float* part, int thread) {
  const int size = shape_.head_size();
  if (size % kPanel == 0) return part;
  float* row = work_->scratch[thread].row.floats();
  std::memset(row, 0, round_up(size, kPanel) * 4);
  std::memcpy(row, part, size * 4);
  return row;
}

// Write keys and values of `count` rows, from the piece's row `first` on, into their pages.
void Model::remember(const Piece& piece, int layer, int head, int first, int count, int thread) {
  const int size = shape_.head_size(), kv = int(layout_.type);
  std::byte* operand = work_->scratch[thread].operand.bytes();
  for (int i = first; i < first + count; ++i) {
    const int position = piece.start + i, within = position % kPagePositions;
    std::byte* page = piece.slot->pages[position / kPagePositions].get();
    const float* key = work_->qkv.floats() + (piece.row + i) * work_->qkv_stride + shape_.channels + head * size;
    kernels_.encode[kv](whole_panels(key, thread), size, layout_.key_steps(), operand);
    std::byte* keys = page + layout_.keys(layer, head) + layout_.key(within, 0);
    for (int s = 0; s < layout_.key_steps(); ++s) std::memcpy(keys + s * kStepBytes, operand + 4 * s, 4);

    kernels_.encode[kv](whole_panels(key + shape_.channels, thread), size, layout_.key_steps(), operand);
    std::byte* values = page + layout_.values(layer, head) + layout_.value(within, 0);
    for (int d = 0; d < size; d += kPanel, values += layout_.value_panel_bytes()) {
      const int width = std::min(kPanel, size - d);
      if (layout_.type == Type::float32) {
        spread<4>(operand + d * 4, values, width);
      } else {
        spread<2>(operand + d * 2, values, width);
      }
    }
  }
}

// Attention of `count` rows, from the piece's row `first` on, over everything up to themselves.
void Model::attend(const Piece& piece, int layer, int head, int first, int count, int thread) {
  const int size = shape_.head_size(), kv = int(layout_.type), steps = layout_.key_steps();
  const int start = piece.start + first, padded = round_up(start + count, kPanel);
  const int tall = round_up(count, kTileRows);
  const std::size_t panel_scores = std::size_t(tall) * kPanel, weights_row = padded * bytes_per_value(layout_.type);
  Workspace& w = *work_;
  Scratch& mine = w.scratch[thread];
  const float* queries = w.qkv.floats() + (piece.row + first) * w.qkv_stride + head * size;
  for (int r = 0; r < count; ++r) {
    const float* query = whole_panels(queries + r * w.qkv_stride, thread);
    kernels_.encode[kv](query, size, steps, mine.query.bytes() + std::size_t(r) * steps * 4);
  }
  for (int p = 0; p < padded; p += kPanel) {
    const std::byte* page = piece.slot->pages[p / kPagePositions].get();
    kernels_.accumulate[kv](page + layout_.keys(layer, head) + layout_.key(p % kPagePositions, 0), mine.query.bytes(),
                            std::size_t(steps) * 4, count, steps, true,
                            mine.scores.floats() + p / kPanel * panel_scores);
  }
  float totals[kAttentionRows];
  const float scale = 1.0f / std::sqrt(float(size));
  for (int r = 0; r < count; ++r) {
    totals[r] = kernels_.weigh(layout_.type, mine.scores.floats() + r * kPanel, panel_scores, start + r + 1, padded,
                               scale, mine.weights.bytes() + r * weights_row);
  }
  for (int panel = 0; panel < layout_.value_panels(); ++panel) {
    for (int p = 0; p < padded; p += kPagePositions) {
      const std::byte* page = piece.slot->pages[p / kPagePositions].get();
      kernels_.accumulate[kv](page + layout_.values(layer, head) + panel * layout_.value_panel_bytes(),
                              mine.weights.bytes() + p * bytes_per_value(layout_.type), weights_row, count,
                              std::min(kPagePositions, padded - p) / group(layout_.type), p == 0, mine.sums.bytes());
    }
    for (int r = 0; r < count; ++r) {
      float* out = w.attended.floats() + (piece.row + first + r) * w.x_stride + head * size + panel * kPanel;
      const float* sums = mine.sums.floats() + r * kPanel;
      for (int d = 0; d < std::min(kPanel, size - panel * kPanel); ++d) out[d] = sums[d] / totals[r];
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------- head

void Model::head(const Chunk& chunk) {
  Workspace& w = *work_;
  const int rows = int(chunk.wanted.size());
  // Gather the wanted rows at the top: `attended` is free by now.
  for (int i = 0; i < rows; ++i) {
    std::memcpy(w.attended.floats() + i * w.x_stride, w.x.floats() + chunk.wanted[i] * w.x_stride, w.x_stride * 4);
  }
  encode(w.attended.floats(), w.x_stride, rows, shape_.channels, &weights_.last, weights_.embedding.steps);
  const std::size_t stride = shape_.vocabulary;
  linear(weights_.embedding, rows, Finish::store, chunk.logits, stride);
  if (!chunk.top) return;
  const Top& top = *chunk.top;
  pool_.share(rows, alone_, [&](int i, int) {
    const float* logits = chunk.logits + i * stride;
    largest(logits, shape_.vocabulary, top.k, top.values + i * top.k, top.ids + i * top.k);
    const float peak = top.values[i * top.k], temperature = top.temperatures[i];
    top.totals[i] = top.scaled_totals[i] = kernels_.total(logits, shape_.vocabulary, peak, 1.0f);
    if (temperature != 1) top.scaled_totals[i] = kernels_.total(logits, shape_.vocabulary, peak, 1 / temperature);
  });
}

}  // namespace inkfish
