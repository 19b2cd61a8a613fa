// The words that generated items and files are made of.
#pragma once

#include <cstddef>
#include <string>

#include <wayfarer/random.hpp>

namespace wayfarer::host::conformance {

/// The last one ends a sentence.
inline constexpr char const* vocabulary_of_texts[] = {"the", "stone", "kills", "two", "birds", "with", "one", "a",   "cat",
                                                      "sat", "on",    "mat",   "and", "then",  "ran",  "to",  "sea", "."};

/// `length` bytes of words.
std::string make_text(random_stream& draw, std::size_t length);

}  // namespace wayfarer::host::conformance
