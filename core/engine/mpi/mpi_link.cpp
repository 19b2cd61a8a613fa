// message_link over MPI: the only file that links it, a library of its own that the host loads for `run --work-local`.
#include <mpi.h>

#include <climits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/message_link.hpp"

namespace wayfarer::host {
namespace {

constexpr int tag = 17;

void check(int code, char const* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw std::runtime_error(std::string(what) + ": " + std::string(text, static_cast<std::size_t>(length)));
}

class mpi_link final : public message_link {
 public:
  mpi_link() {
    int level = 0, rank = 0, size = 0;
    // Called by one thread alone, which is this one.
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "MPI can't begin");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI can't return errors");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI gives no rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI gives no size");
    if (level < MPI_THREAD_FUNNELED) throw std::runtime_error("this MPI can't be used beside threads");
    rank_ = static_cast<std::size_t>(rank);
    out_.resize(static_cast<std::size_t>(size));
  }

  std::size_t rank() const noexcept override { return rank_; }
  std::size_t size() const noexcept override { return out_.size(); }

  bool is_ready(std::size_t to) override { return is_sent(out_.at(to)); }

  void send(std::size_t to, std::string bytes) override {
    outgoing& one = out_.at(to);
    if (bytes.size() > INT_MAX || !is_sent(one)) throw std::runtime_error("a message can't be taken");
    one.bytes = std::move(bytes);
    check(MPI_Isend(one.bytes.data(), static_cast<int>(one.bytes.size()), MPI_BYTE, static_cast<int>(to), tag, MPI_COMM_WORLD,
                    &one.request),
          "a message can't be sent");
  }

  bool all_sent() override {
    bool all = true;
    for (auto& one : out_) all = is_sent(one) && all;
    return all;
  }

  bool receive(std::size_t& from, std::string& bytes) override {
    int there = 0, size = 0;
    MPI_Status status;
    check(MPI_Iprobe(MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, &there, &status), "messages can't be looked for");
    if (!there) return false;
    check(MPI_Get_count(&status, MPI_BYTE, &size), "a message has no size");
    bytes.resize(static_cast<std::size_t>(size));
    check(MPI_Recv(bytes.data(), size, MPI_BYTE, status.MPI_SOURCE, tag, MPI_COMM_WORLD, &status), "a message can't be received");
    from = static_cast<std::size_t>(status.MPI_SOURCE);
    return true;
  }

  void finish() override { check(MPI_Finalize(), "MPI can't end"); }

 private:
  struct outgoing {
    std::string bytes{};
    MPI_Request request = MPI_REQUEST_NULL;
  };
  static bool is_sent(outgoing& one) {
    int done = 0;
    check(MPI_Test(&one.request, &done, MPI_STATUS_IGNORE), "a message can't be followed");
    return done != 0;
  }
  std::size_t rank_ = 0;
  std::vector<outgoing> out_;
};

}  // namespace
}  // namespace wayfarer::host

extern "C" __attribute__((visibility("default"))) wayfarer::host::message_link* wayfarer_open_link(char const* build_id) {
  if (std::string_view(build_id) != WAYFARER_BUILD_ID) return nullptr;
  return new wayfarer::host::mpi_link;
}
