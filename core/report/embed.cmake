# cmake -DFROM=folder -DLICENCES=file -DTO=page.cpp -P embed.cmake: script, style and licences as bytes in a source file.
set(most_script 450000)
file(SIZE ${FROM}/main.js size)
if(size GREATER most_script)
  message(FATAL_ERROR "the report's script is ${size} bytes; at most ${most_script} are allowed")
endif()
# What would end the block that the script or style stands in.
file(READ ${FROM}/main.js text)
string(TOLOWER "${text}" text)
string(FIND "${text}" "</script" at)
string(FIND "${text}" "<!--" comment)
if(NOT at EQUAL -1 OR NOT comment EQUAL -1)
  message(FATAL_ERROR "the report's script holds '</script' or '<!--', which would end it in a page")
endif()
function(bytes_of out file)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  set(${out} "${hex}0" PARENT_SCOPE)
endfunction()
bytes_of(script ${FROM}/main.js)
bytes_of(style ${FROM}/style.css)
bytes_of(licences ${LICENCES})
file(WRITE ${TO} "#include \"report/page.hpp\"

namespace wayfarer::host {
namespace {
constexpr unsigned char script[] = {${script}};
constexpr unsigned char style[] = {${style}};
constexpr unsigned char licences[] = {${licences}};

template <class Bytes>
std::string_view text_of(Bytes const& bytes) noexcept {
  return {reinterpret_cast<char const*>(bytes), sizeof bytes - 1};
}
}  // namespace

page_bundle bundled_page() noexcept {
  return {text_of(script), text_of(style), text_of(licences)};
}

}  // namespace wayfarer::host
")
