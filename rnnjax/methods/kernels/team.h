// Work sharing on XLA's thread pool, and a cache of scratch memory.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace rnnjax {

// Advises the operating system to back memory that is not written yet by huge pages: fewer page
// faults.
void use_huge_pages(void* memory, size_t bytes);

struct Block {
  size_t bytes;
  void* memory;
};

// The calling thread runs every unit that no helper has claimed, so a call ends even if the pool
// has no free thread, and nobody waits for a unit that is not already running.
class Team final : public Context {
 public:
  explicit Team(xla::ffi::ThreadPool pool);
  ~Team() override;
  int64_t threads() const override { return threads_; }
  void run(int64_t phases, int64_t units, void (*body)(void*, int64_t, int64_t),
           void* data) override;
  void* allocate(size_t bytes) override;
  void clear_pages(void* memory, size_t bytes) override;

 private:
  xla::ffi::ThreadPool pool_;
  int64_t threads_;
  std::vector<Block> blocks_;
};

}  // namespace rnnjax
