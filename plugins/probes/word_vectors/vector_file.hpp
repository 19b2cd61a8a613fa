// Word vectors in the text format of GloVe and word2vec: a word and its numbers on each line, separated by spaces. word2vec's
// files begin with a header, a line of two numbers: how many words and how wide.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace wayfarer {

/// Calls `take` with each word and its vector, in the file's order, until it returns false. All vectors have one width, and a
/// header must be right about what follows. Throws data_error "path: line N: what is wrong". Returns whether the last line that
/// was read has an end: without one its last number may be cut short.
bool read_vector_file(std::string const& path,
                      std::function<bool(std::string_view word, std::span<float const> vector)> const& take);

/// Throws data_error unless it can be opened and begins as text.
void check_vector_file(std::string const& path);

}  // namespace wayfarer
