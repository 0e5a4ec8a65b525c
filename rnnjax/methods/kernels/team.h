// Threads borrowed from XLA's pool, and memory kept from call to call.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace rnnjax {

// Asks for large pages behind memory that is about to be written for the first time, so that it is
// faulted in with a few hundred times fewer interruptions.
void use_huge_pages(void* memory, size_t bytes);

struct Block {
  size_t bytes;
  void* memory;
};

// The thread that runs the handler does whatever nobody else has begun, so a call ends even if
// the pool has no thread to spare, and nothing waits for work that is not already running.
class Team final : public Context {
 public:
  explicit Team(xla::ffi::ThreadPool pool);
  ~Team() override;
  int64_t threads() const override { return threads_; }
  void run(int64_t phases, int64_t units, void (*body)(void*, int64_t, int64_t),
           void* data) override;
  void* allocate(size_t bytes) override;

 private:
  xla::ffi::ThreadPool pool_;
  int64_t threads_;
  std::vector<Block> blocks_;
};

}  // namespace rnnjax
