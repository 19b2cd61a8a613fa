// Checkpoints of the program rwkv.cpp: one file that says its own sizes, with the tensors under BlinkDL's names.
//
// The model's constructor reads the header and the list of tensors, which is all bounds-checked before a number is touched, and
// makes the description of it; `tensors` brings them into the names and shapes of Hugging Face's folders. The numbers are views
// of the mapped file where they are aligned, else copies, and live as long as any handle on them. One thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <wayfarer/file.hpp>
#include <wayfarer/tensor.hpp>

#include "versions.hpp"

namespace wayfarer::rwkv {

class rwkv_cpp_file {
 public:
  /// Whether a path is a regular file that begins with rwkv.cpp's magic number.
  static bool is_one(std::string const& path);
  /// Throws data_error, naming file, byte and tensor, for one that is malformed or of a type that is not read.
  explicit rwkv_cpp_file(std::string const& path);

  /// Throws data_error if the tensors are not those of one RWKV.
  spec describe() const;
  /// Under the names of `parts_of`, in their shapes. Throws data_error for a shape that does not fit.
  std::map<std::string, tensor> tensors(spec const&) const;
  /// Tensors that nothing reads.
  std::vector<std::string> unread(spec const&) const;

 private:
  struct entry {
    dtype type = dtype::f32;
    std::vector<std::size_t> shape;  ///< as torch has it, slowest first
    std::size_t begin = 0;           ///< in the file
  };
  bool has(std::string const& name) const { return entries_.contains(name); }
  entry const& need(std::string const& name) const;
  tensor read(std::string const& name) const;
  void read_entry(std::size_t& at);
  [[noreturn]] void fail(std::string const& what) const;

  std::string path_;
  std::shared_ptr<mapped_file const> file_;
  std::size_t vocabulary_ = 0, d_model_ = 0, layers_ = 0;
  std::map<std::string, entry> entries_;
};

}  // namespace wayfarer::rwkv
