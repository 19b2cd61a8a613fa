// Tokens back to a text: the decoders of tokenizer.json, in a chain. Immutable once made; any thread.
//
// Where Hugging Face's library writes U+FFFD for bytes that are no UTF-8, these give the bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "pattern.hpp"

namespace wayfarer::tokenizing {

/// What to do to each token's text, or to all of them together.
struct decode_letters {};  ///< byte letters are their bytes
struct decode_marks {
  std::string mark;
  bool drop_first = true;  ///< of the first token all marks go; the others become spaces
};
struct decode_wordpiece {
  std::string prefix;
  bool tidy = true;
};
struct decode_suffix {
  std::string suffix;
};
struct decode_replace {
  std::string what;
  std::shared_ptr<pattern const> matches;  ///< if set, instead of `what`
  std::string with;
};
struct decode_bytes {};  ///< "<0x0A>" is the byte
struct decode_fuse {};
struct decode_strip {
  std::string character;
  std::size_t start = 0, stop = 0;  ///< at most so many at the begin and the end of each
};

using decoder = std::variant<decode_letters, decode_marks, decode_wordpiece, decode_suffix, decode_replace, decode_bytes,
                             decode_fuse, decode_strip>;

class decoding {
 public:
  decoding() = default;
  explicit decoding(std::vector<decoder> steps) : steps_(std::move(steps)) {}

  /// Without any steps the tokens stand with spaces between, as in Hugging Face's library.
  std::string text(std::vector<std::string> tokens) const;
  /// What one token stands for, wherever it is.
  std::string alone(std::string_view token) const;
  std::vector<decoder> const& steps() const noexcept { return steps_; }

 private:
  std::vector<decoder> steps_;
};

/// The byte of "<0x0A>"; -1 for other texts.
int byte_of_token(std::string_view text) noexcept;

}  // namespace wayfarer::tokenizing
