// How fast threads read memory: the sum of what is read is returned so that nothing is left out.
// Built by the benchmark: cc -O3 -march=native -shared -fPIC read_memory.c
#include <stddef.h>
#include <stdint.h>

typedef uint64_t lanes __attribute__((vector_size(64)));

uint64_t read_memory(const char* data, size_t size) {
  lanes sums[8] = {0};
  for (size_t i = 0; i + 512 <= size; i += 512) {
    __builtin_prefetch(data + i + 4096);
    __builtin_prefetch(data + i + 4096 + 256);
    for (int j = 0; j < 8; ++j) sums[j] ^= *(const lanes*)(data + i + 64 * j);
  }
  uint64_t total = 0;
  for (int j = 0; j < 8; ++j)
    for (int k = 0; k < 8; ++k) total ^= sums[j][k];
  return total;
}
