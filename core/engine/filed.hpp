// Finished work as a file: what nodes left, states of trained models, lengths of items, activations. Written once under a key,
// read by the processes that need it: numbers are looked at where they lie, not copied.
//
// A file is "wayfarer filed 1\n", then numbers, texts and tensors one after another as they were put, then the SHA-256 of it all,
// before which the digest may take a text that stands outside, such as the name.
// What is read may be damaged or made up: every count is checked against the bytes that are left, and whatever does not fit is a
// data_error. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
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
  /// To something else, piece by piece.
  filed_writer(std::function<void(std::string_view)> to, std::string_view salt);
  void put(std::uint64_t);
  void put(double);
  void put(std::string_view);
  void put(std::vector<std::string> const&);
  void put(tensor const&);
  void put(results const&);
  /// Publishes the file: until then nothing is under its name. Of what goes elsewhere these are the last bytes.
  void commit();

 private:
  void bytes(std::string_view);
  void flush();
  std::unique_ptr<atomic_file> file_;
  std::function<void(std::string_view)> to_;
  sha256 digest_;
  std::string waiting_;
  std::size_t size_ = 0;
};

class filed_reader {
 public:
  /// Throws data_error for a file that is not there, not whole, or was written under another name.
  explicit filed_reader(std::filesystem::path const&);
  /// The same of bytes in memory that `keep` owns. `name`: for errors.
  filed_reader(std::string_view bytes, std::shared_ptr<void const> keep, std::string name, std::string_view salt);
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
  std::string_view bytes_;
  std::shared_ptr<void const> keep_;
  std::string name_;
  std::size_t at_ = 0, end_ = 0;
};

}  // namespace wayfarer::host
