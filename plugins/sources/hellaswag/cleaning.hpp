// HellaSwag's text as the published experiments read it: markers of WikiHow pages taken out, sentences joined.
//
// Pure functions of UTF-8 text, any thread. They do what these calls of Python do, byte for byte, Unicode included.
#pragma once

#include <string>
#include <string_view>

namespace wayfarer {

/// Without white space at the ends; " [title]" becomes ". "; what stands in square brackets goes; two spaces become one, in one
/// pass from the left.
std::string clean(std::string_view text);

/// Python's `capitalize`: the first letter in title case, all the rest in lower case. Throws data_error if the text is not UTF-8.
std::string capitalize(std::string_view text);

}  // namespace wayfarer
