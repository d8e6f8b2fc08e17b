// The C functions that Python calls through ctypes. No exception leaves them, and nothing here aborts: every failure is
// a `Status`. `__init__.py` declares the same functions and structures.
#include <memory>
#include <new>
#include <utility>

#include "checksum.h"
#include "model.h"

using namespace inkfish;

namespace {

// Hands out the tensors of a weight file in the order in which `convert.py` writes them.
class Tensors {
 public:
  Tensors(const std::byte* base, std::uint64_t size, const std::uint64_t* offsets, int count)
      : base_(base), size_(size), offsets_(offsets), count_(count) {}

  template <class T>
  const T* take(std::size_t numbers) {
    if (next_ >= count_) return fail<T>();
    const std::uint64_t offset = offsets_[next_++], bytes = numbers * sizeof(T);
    if (offset % 64 != 0 || offset > size_ || bytes > size_ - offset) return fail<T>();
    return reinterpret_cast<const T*>(base_ + offset);
  }

  Norm norm(int channels) {
    const std::size_t padded = round_up(channels, kPanel);
    const float* weight = take<float>(padded);
    return {weight, take<float>(padded)};
  }

  Matrix matrix(Type type, int outputs, int inputs, bool bias) {
    Matrix m;
    m.type = type;
    m.outputs = outputs;
    m.inputs = inputs;
    m.steps = steps_for(type, inputs);
    const std::size_t padded = round_up(outputs, kPanel);
    m.panels = take<std::byte>(m.panel_count() * m.panel_bytes());
    if (computed(type) == Type::int8) {
      m.scales = take<float>(padded);
      m.totals = take<std::int32_t>(padded);
    }
    if (bias) m.bias = take<float>(padded);
    return m;
  }

  bool complete() const { return ok_ && next_ == count_; }

 private:
  template <class T>
  const T* fail() {
    ok_ = false;
    return nullptr;
  }

  const std::byte* base_;
  std::uint64_t size_;
  const std::uint64_t* offsets_;
  int count_, next_ = 0;
  bool ok_ = true;
};

template <class F>
int guarded(F body) {
  try {
    return int(body());
  } catch (...) {  // std::bad_alloc, or std::system_error where the system gives no more threads
    return int(Status::out_of_memory);
  }
}

}  // namespace

extern "C" {

struct InkfishWeights {
  std::int32_t layers, heads, channels, positions, vocabulary, inner;
  float epsilon;
  std::int32_t type;   // of the weights, see Type
  std::int32_t count;  // of offsets
  const std::byte* base;
  std::uint64_t size;
  const std::uint64_t* offsets;
};

#define INKFISH_API __attribute__((visibility("default")))

// Whether this machine runs the instruction set, see Isa.
INKFISH_API int inkfish_supported(int isa) { return isa >= 0 && isa < kIsaCount && supported(Isa(isa)); }

INKFISH_API std::uint64_t inkfish_checksum(const std::byte* data, std::uint64_t size) { return checksum(data, size); }

INKFISH_API int inkfish_open(const InkfishWeights* w, int threads, int isa, Model** out) {
  return guarded([&] {
    const Type type = Type(w->type);
    const Shape shape = {w->layers, w->heads, w->channels, w->positions, w->vocabulary, w->inner, w->epsilon};
    Tensors tensors(w->base, w->size, w->offsets, w->count);
    Weights weights;
    weights.embedding = tensors.matrix(computed(type), shape.vocabulary, shape.channels, false);
    weights.positions = tensors.take<float>(std::size_t(shape.positions) * shape.channels);
    for (int i = 0; i < shape.layers; ++i) {
      Block block;
      block.before_attention = tensors.norm(shape.channels);
      block.attention = tensors.matrix(type, 3 * shape.channels, shape.channels, true);
      block.projection = tensors.matrix(type, shape.channels, shape.channels, true);
      block.before_mlp = tensors.norm(shape.channels);
      block.expansion = tensors.matrix(type, shape.inner, shape.channels, true);
      block.contraction = tensors.matrix(type, shape.channels, shape.inner, true);
      weights.blocks.push_back(block);
    }
    weights.last = tensors.norm(shape.channels);
    if (!tensors.complete()) return Status::bad_weights;
    *out = new Model(shape, type, std::move(weights), threads, *kernels_for(Isa(isa)));
    return Status::done;
  });
}

// In a forked child the model has no threads to stop, so it is left as it is.
INKFISH_API void inkfish_close(Model* model) {
  if (model->owned()) delete model;
}

INKFISH_API int inkfish_allocate(Model* model, int* slot) {
  return guarded([&] {
    *slot = model->allocate();
    return Status::done;
  });
}

INKFISH_API int inkfish_length(Model* model, int slot, int* length) {
  return guarded([&] { return model->length(slot, length); });
}

INKFISH_API int inkfish_copy(Model* model, int source, int target, int length) {
  return guarded([&] { return model->copy(source, target, length); });
}

INKFISH_API int inkfish_truncate(Model* model, int slot, int length) {
  return guarded([&] { return model->truncate(slot, length); });
}

INKFISH_API int inkfish_free(Model* model, int slot) {
  return guarded([&] { return model->free(slot); });
}

// Logits are rows × vocabulary; `top` may be null.
INKFISH_API int inkfish_forward(Model* model, const Request* request, float* logits, const Top* top) {
  return guarded([&] { return model->forward(*request, logits, top); });
}
}
