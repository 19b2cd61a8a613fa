// Finished work as a file: what nodes left, states of trained models, lengths of items. Written once under a key, read by the
// processes that need it: numbers are mapped, not copied.
//
// A file is "wayfarer filed 1\n", then numbers, texts and tensors one after another as they were put, then the SHA-256 of it all.
// What is read may be damaged or made up: every count is checked against the bytes that are left, and whatever does not fit is a
// data_error. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/digest.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::host {

class filed_writer {
 public:
  explicit filed_writer(std::filesystem::path const&);
  void put(std::uint64_t);
  void put(double);
  void put(std::string_view);
  void put(std::vector<std::string> const&);
  void put(tensor const&);
  void put(results const&);
  /// Publishes the file. Until then nothing is under its name.
  void commit();

 private:
  void bytes(std::string_view);
  void flush();
  atomic_file file_;
  sha256 digest_;
  std::string waiting_;
  std::size_t size_ = 0;
};

class filed_reader {
 public:
  /// Throws data_error for a file that is not there or not whole.
  explicit filed_reader(std::filesystem::path const&);
  std::uint64_t number();
  double real();
  std::string text();
  std::vector<std::string> texts();
  /// Lives as long as it is held; the file is mapped for so long.
  tensor values();
  results node();
  /// A count of things that take at least so many bytes each.
  std::size_t count(std::size_t each = 1);
  [[noreturn]] void fail() const;

 private:
  std::string_view take(std::size_t);
  std::shared_ptr<mapped_file const> file_;
  std::size_t at_ = 0, end_ = 0;
};

}  // namespace wayfarer::host
