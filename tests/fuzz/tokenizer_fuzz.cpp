// Any bytes as the files of a tokenizer: opened or refused with a data_error; what is opened reads any text.
//
// The first byte says which files; NUL bytes part the files where there are two.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/tokenizer.hpp>

#include "scratch_folder.hpp"

namespace wf = wayfarer;

namespace {

void use(wf::tokenizer const& t) {
  using namespace std::string_view_literals;
  for (auto const text :
       {"Hello, w\xc3\xb6rld! It's 12.5  \n\t low lower <s></s><extra_id_0>[MASK] don't"sv,
        "\xe2\x96\x81 \xe2\x96\x81 e\xcc\x81\xef\xac\x81\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x80\xf0\x9f\x98\x80\r\n"sv,
        "\0\xff\xf0\x9f \xc0\x80 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"sv, ""sv}) {
    try {
      for (bool const special : {true, false}) {
        wf::encoding const e = t.encode(text, {.special = special, .ends = special});
        if (e.ids.size() != e.spans.size()) std::abort();
        for (auto const& s : e.spans)
          if (s.begin > s.end || s.end > text.size()) std::abort();
        t.decode(e.ids);
      }
    } catch (wf::usage_error const&) {  // a byte that the vocabulary has no token for
    }
  }
  for (std::size_t i = 0; i < t.vocabulary() && i < 300; ++i) {
    auto const id = static_cast<std::int32_t>(i);
    try {
      if (!wf::is_utf8(t.token_text(id))) std::abort();
      t.find(t.token_bytes(id));
      t.begins_word(id);
    } catch (wf::usage_error const&) {  // a hole among the ids
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  static wf::fuzz::scratch_folder const folder;
  if (size == 0) return 0;
  std::string_view const rest(reinterpret_cast<char const*>(data) + 1, size - 1);
  std::size_t const border = std::min(rest.find('\0'), rest.size());
  std::string_view const one = rest.substr(0, border), two = rest.substr(std::min(border + 1, rest.size()));
  folder.clear();
  switch (data[0] % 5) {
    case 0:
      folder.write("tokenizer.json", rest);
      break;
    case 1:
      folder.write("vocab.json", one), folder.write("merges.txt", two);
      break;
    case 2:
      folder.write("spiece.model", rest);
      break;
    case 3:
      folder.write("vocab.txt", one), folder.write("tokenizer_config.json", two);
      break;
    case 4:
      folder.write("encoder.json", one), folder.write("vocab.bpe", "#version: 0.2\nl o\n"),
          folder.write("special_tokens_map.json", two);
      break;
  }
  try {
    if (auto const t = wf::open_tokenizer(folder.path())) use(*t);
  } catch (wf::data_error const&) {
  }
  return 0;
}
