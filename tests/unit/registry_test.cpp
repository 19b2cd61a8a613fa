// The descriptor check, field by field, on descriptors made in memory. Whole libraries are in tests/hostile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/version.hpp>

#include "registry/descriptor_check.hpp"
#include "registry/registry.hpp"

namespace {

using namespace wayfarer;
using testing::HasSubstr;

plugin_base* make_nothing(config const&) {
  return nullptr;
}

constexpr double inf = std::numeric_limits<double>::infinity();

/// A library of our own: a descriptor, its tables and its texts in one page, with nothing readable behind it.
class made_up {
 public:
  made_up() {
    auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    pages_ = page;
    void* const at = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<std::byte*>(at);
    ::mprotect(start_ + page, page, PROT_NONE);
    std::memset(start_, 'x', page);
    parts_ = new (start_) parts{};
    next_ = start_ + sizeof(parts);
    auto& d = descriptor();
    std::memcpy(d.magic, descriptor_magic, sizeof d.magic);
    d.size = sizeof d;
    d.sdk_major = WAYFARER_SDK_MAJOR;
    d.sdk_minor = WAYFARER_SDK_MINOR;
    d.kind = plugin_kind::probe;
    d.abi_tag = text(WAYFARER_ABI_TAG);
    d.build_id = text("b1");
    d.id = text("made_up");
    d.version = text("1.0.0");
    d.summary = text("A plugin made up for tests");
    d.params = parts_->params;
    d.ports = parts_->ports;
    d.param_count = 3;
    d.port_count = 2;
    d.create = &make_nothing;
    for (auto& f : parts_->facts) f = text("");
    parts_->facts[0] = text("topics");
    d.facts = parts_->facts;
    d.tail = descriptor_tail;
    param(0) = {text("count"), text("how many"), text(""), text(""), text(""), 10, 1, 100, param_type::integer, 0};
    param(1) = {text("train.rate"), text("how fast"), text("1/s"), text(""), text(""), 0.5, -inf, inf, param_type::real, 0};
    param(2) = {text("words"), text("which"),         text(""), text("one\x1ftwo"), text("one|two|three"), 0, -inf,
                inf,           param_type::text_list, 0};
    parts_->ports[0] = {text("model"), text("what"), port_kind::model, 0};
    parts_->ports[1] = {text("train.source"), text("on what"), port_kind::source, 1};
  }
  ~made_up() { ::munmap(start_, 2 * pages_); }
  made_up(made_up const&) = delete;
  made_up& operator=(made_up const&) = delete;

  plugin_descriptor& descriptor() { return parts_->descriptor; }
  param_descriptor& param(std::size_t i) { return parts_->params[i]; }
  port_descriptor& port(std::size_t i) { return parts_->ports[i]; }
  char const*& fact(std::size_t i) { return parts_->facts[i]; }

  /// A copy of the text in the library.
  char const* text(std::string_view s) {
    auto* const at = reinterpret_cast<char*>(next_);
    std::memcpy(at, s.data(), s.size());
    at[s.size()] = 0;
    next_ += s.size() + 1;
    return at;
  }
  /// The last n bytes of the library, after which reading is a crash.
  char* end(std::size_t n) { return reinterpret_cast<char*>(start_ + pages_ - n); }

  plugin_descriptor const* check(void const* at) const {
    host::library_memory const memory({{start_, start_ + pages_}}, {{code(), code() + 1}});
    return host::check_descriptor(at, memory, "/x/wayfarer_made_up.so", "made_up");
  }
  std::string refusal(void const* at) const {
    try {
      check(at);
    } catch (plugin_error const& e) {
      return e.what();
    }
    return "accepted";
  }
  std::string refusal() const { return refusal(&parts_->descriptor); }

 private:
  struct parts {
    plugin_descriptor descriptor;
    param_descriptor params[3];
    port_descriptor ports[2];
    char const* facts[3];
  };
  static std::byte const* code() { return reinterpret_cast<std::byte const*>(&make_nothing); }

  std::size_t pages_ = 0;
  std::byte* start_ = nullptr;
  std::byte* next_ = nullptr;
  parts* parts_ = nullptr;
};

TEST(descriptor_check, accepts_a_sound_one) {
  made_up lib;
  EXPECT_EQ(lib.check(&lib.descriptor()), &lib.descriptor());
  host::plugin const p(lib.check(&lib.descriptor()), "/x/wayfarer_made_up.so");
  EXPECT_EQ(p.id(), "made_up");
  EXPECT_EQ(p.kind(), plugin_kind::probe);
  EXPECT_EQ(p.params().size(), 3u);
  EXPECT_EQ(p.find_param("train.rate"), &lib.param(1));
  EXPECT_EQ(p.find_param("rate"), nullptr);
  EXPECT_EQ(p.fact_of(lib.param(0)), "topics");
  EXPECT_EQ(p.fact_of(lib.param(1)), "");
  EXPECT_EQ(p.find_port("train.source"), &lib.port(1));
  EXPECT_EQ(p.find_port("count"), nullptr);
  EXPECT_THROW(p.create<plugin_base>(config()), plugin_error) << "its constructor returns nothing";
}

TEST(descriptor_check, accepts_no_tables_at_all) {
  made_up lib;
  auto& d = lib.descriptor();
  d.params = nullptr, d.ports = nullptr, d.param_count = 0, d.port_count = 0;
  EXPECT_EQ(lib.refusal(), "accepted");
}

/// One field spoiled, and what must be said of it.
struct spoiled {
  char const* name;
  std::function<void(made_up&)> how;
  std::string says;
};
void PrintTo(spoiled const& s, std::ostream* out) {
  *out << s.name;
}

class descriptor_field : public testing::TestWithParam<spoiled> {};

TEST_P(descriptor_field, is_refused) {
  made_up lib;
  GetParam().how(lib);
  auto const text = lib.refusal();
  EXPECT_THAT(text, testing::StartsWith("/x/wayfarer_made_up.so: "));
  EXPECT_THAT(text, HasSubstr(GetParam().says));
}

#define SPOIL(name, says, ...)                         \
  spoiled {                                            \
    name,                                              \
        [](made_up& lib) {                             \
          [[maybe_unused]] auto& d = lib.descriptor(); \
          __VA_ARGS__;                                 \
        },                                             \
        says                                           \
  }

INSTANTIATE_TEST_SUITE_P(of_head, descriptor_field,
                         testing::Values(SPOIL("magic_not_terminated", "wrong magic", d.magic[15] = 'x'),
                                         SPOIL("size_zero", "truncated descriptor", d.size = 0),
                                         SPOIL("size_odd", "truncated descriptor", d.size = sizeof d - 1),
                                         SPOIL("size_huge", "truncated descriptor", d.size = 0xfffffff8),
                                         SPOIL("size_one_field_short", "truncated descriptor", d.size = sizeof d - 8),
                                         SPOIL("size_beyond_version", "longer than any of its version", d.size = sizeof d + 8;
                                               std::memcpy(&lib.param(0), &descriptor_tail, 8)),
                                         SPOIL("tail", "without their end mark", d.tail ^= 1),
                                         SPOIL("major", "the major versions must be equal", d.sdk_major += 1),
                                         SPOIL("major_of_another_layout", "the major versions must be equal", d.sdk_major += 1;
                                               d.size = 40; d.tail = 0),
                                         SPOIL("minor", "newer than this host's", d.sdk_minor += 1),
                                         SPOIL("tag", "'other-tag'", d.abi_tag = lib.text("other-tag")),
                                         SPOIL("tag_wild", "the ABI tag is not in the library", d.abi_tag = "outside"),
                                         SPOIL("build_id_null", "the build id is a null pointer", d.build_id = nullptr)),
                         [](auto const& which) { return std::string(which.param.name); });

INSTANTIATE_TEST_SUITE_P(of_identity, descriptor_field,
                         testing::Values(SPOIL("id_upper", "is not a plugin id", d.id = lib.text("Made_up")),
                                         SPOIL("id_empty", "is not a plugin id", d.id = lib.text("")),
                                         SPOIL("id_long", "is not a plugin id", d.id = lib.text(std::string(65, 'a'))),
                                         SPOIL("id_another", "rename the file to wayfarer_other.so", d.id = lib.text("other")),
                                         SPOIL("kind_zero", "its kind 0", d.kind = plugin_kind{}),
                                         SPOIL("version_empty", "its version is empty", d.version = lib.text("")),
                                         SPOIL("summary_of_two_lines", "one line of plain UTF-8", d.summary = lib.text("a\nb")),
                                         SPOIL("summary_not_utf8", "one line of plain UTF-8", d.summary = lib.text("a\xff")),
                                         SPOIL("summary_with_c1_control", "one line of plain UTF-8",
                                               d.summary = lib.text("a\xc2\x9b"
                                                                    "2J")),
                                         SPOIL("summary_without_end", "does not end within the library",
                                               d.summary = static_cast<char*>(std::memset(lib.end(5), 'y', 5))),
                                         SPOIL("summary_too_long", "longer than 1000 bytes",
                                               d.summary = static_cast<char*>(std::memset(lib.end(1100), 'y', 1100))),
                                         SPOIL("constructor_null", "its constructor is not in the library", d.create = nullptr),
                                         SPOIL("constructor_is_data", "its constructor is not in the library",
                                               d.create = reinterpret_cast<decltype(d.create)>(&d))),
                         [](auto const& which) { return std::string(which.param.name); });

INSTANTIATE_TEST_SUITE_P(
    of_tables, descriptor_field,
    testing::Values(
        SPOIL("params_null", "its table of parameters is not in the library", d.params = nullptr),
        SPOIL("params_misaligned", "its table of parameters is not in the library",
              d.params = reinterpret_cast<param_descriptor const*>(reinterpret_cast<char const*>(d.params) + 4)),
        SPOIL("params_half_outside", "its table of parameters is not in the library",
              d.params = reinterpret_cast<param_descriptor const*>(lib.end(2 * sizeof(param_descriptor)))),
        SPOIL("params_257", "at most 256", d.param_count = 257), SPOIL("ports_many", "at most 256", d.port_count = 0x80000000),
        SPOIL("ports_outside", "its table of ports is not in the library", static port_descriptor const elsewhere[2]{};
              d.ports = elsewhere),
        SPOIL("name_null", "the name of a parameter is a null pointer", lib.param(1).name = nullptr),
        SPOIL("name_upper", "not well formed", lib.param(1).name = lib.text("Rate")),
        SPOIL("name_dots", "not well formed", lib.param(1).name = lib.text("train..rate")),
        SPOIL("name_ends_in_dot", "not well formed", lib.port(1).name = lib.text("train.")),
        SPOIL("name_twice", "two of its parameters and ports are called 'count'", lib.port(0).name = lib.text("count")),
        SPOIL("name_is_a_group", "'train' is both", lib.param(0).name = lib.text("train")),
        SPOIL("facts_null", "its table of facts is not in the library", d.facts = nullptr),
        SPOIL("facts_half_outside", "its table of facts is not in the library",
              d.facts = reinterpret_cast<char const* const*>(lib.end(2 * sizeof(char const*)))),
        SPOIL("fact_null", "the fact of the parameter 'train.rate' is a null pointer", lib.fact(1) = nullptr),
        SPOIL("fact_wild", "the fact of the parameter 'train.rate' is not in the library", lib.fact(1) = "elsewhere"),
        SPOIL("fact_upper", "is not well formed", lib.fact(1) = lib.text("Rate")),
        SPOIL("fact_twice", "two of its parameters are bound to the fact 'topics'", lib.fact(1) = lib.text("topics")),
        SPOIL("fact_of_a_path", "would be a path", lib.param(0).type = param_type::path),
        SPOIL("doc_wild", "the description of the parameter 'count' is not in the library", lib.param(0).doc = "elsewhere"),
        SPOIL("unit_null", "the unit of the parameter 'count'", lib.param(0).unit = nullptr),
        SPOIL("type_zero", "the unknown type 0", lib.param(0).type = param_type{}),
        SPOIL("type_nine", "the unknown type 9", lib.param(0).type = static_cast<param_type>(9)),
        SPOIL("required_two", "neither required nor not", lib.param(0).required = 2),
        SPOIL("port_kind", "the port 'model' has the unknown kind 4", lib.port(0).kind = static_cast<port_kind>(4)),
        SPOIL("optional_two", "neither optional nor not", lib.port(0).optional = 2)),
    [](auto const& which) { return std::string(which.param.name); });

INSTANTIATE_TEST_SUITE_P(
    of_values, descriptor_field,
    testing::Values(SPOIL("range_empty", "allows no value", lib.param(0).minimum = 101),
                    SPOIL("range_nan", "allows no value", lib.param(0).maximum = NAN),
                    SPOIL("default_outside", "is outside 1 to 100", lib.param(0).default_number = 0),
                    SPOIL("default_fraction", "is not an integer", lib.param(0).default_number = 1.5),
                    SPOIL("default_nan", "is not a number", lib.param(1).default_number = NAN),
                    SPOIL("default_beyond_double", "is not an integer", lib.param(0).maximum = inf;
                          lib.param(0).default_number = 0x1p54),
                    SPOIL("default_boolean", "neither true nor false", lib.param(0).type = param_type::boolean),
                    SPOIL("default_no_choice", "\"four\" of the parameter 'words' is none of its choices",
                          lib.param(2).default_text = lib.text("one\x1f"
                                                               "four")),
                    SPOIL("choices_empty_word", "empty or repeated choice", lib.param(2).choices = lib.text("one||two")),
                    SPOIL("choices_repeated", "empty or repeated choice", lib.param(2).choices = lib.text("one|two|one")),
                    SPOIL("choices_of_a_number", "only text can have", lib.param(0).choices = lib.text("1|2")),
                    SPOIL("list_of_words_for_numbers", "has \"one\" among its numbers", lib.param(2).choices = lib.text("");
                          lib.param(2).type = param_type::integer_list),
                    SPOIL("list_element_outside", "is outside", lib.param(2).choices = lib.text("");
                          lib.param(2).type = param_type::real_list; lib.param(2).default_text = lib.text("0.5 2");
                          lib.param(2).maximum = 1)),
    [](auto const& which) { return std::string(which.param.name); });

TEST(descriptor_check, needs_no_default_for_what_is_required) {
  made_up lib;
  lib.param(0).required = 1;
  lib.param(0).default_number = -5;
  lib.param(2).required = 1;
  lib.param(2).default_text = lib.text("");
  EXPECT_EQ(lib.refusal(), "accepted");
}

TEST(descriptor_check, refuses_pointers_that_are_none) {
  made_up lib;
  EXPECT_THAT(lib.refusal(nullptr), HasSubstr("returns no descriptor"));
  EXPECT_THAT(lib.refusal(reinterpret_cast<void*>(16)), HasSubstr("not into the library"));
  EXPECT_THAT(lib.refusal(&lib), HasSubstr("not into the library"));
  EXPECT_THAT(lib.refusal(reinterpret_cast<char*>(&lib.descriptor()) + 1), HasSubstr("not into the library"));
}

// A descriptor whose library ends in the middle of it, at every place where it can.
TEST(descriptor_check, never_reads_beyond_the_library) {
  for (std::size_t n = 8; n < sizeof(plugin_descriptor); n += 8) {
    made_up lib;
    std::memcpy(lib.end(n), &lib.descriptor(), n);
    EXPECT_THAT(lib.refusal(lib.end(n)), testing::AnyOf(HasSubstr("wrong magic"), HasSubstr("truncated descriptor"))) << n;
  }
  made_up lib;
  std::memcpy(lib.end(sizeof(plugin_descriptor)), &lib.descriptor(), sizeof(plugin_descriptor));
  EXPECT_EQ(lib.refusal(lib.end(sizeof(plugin_descriptor))), "accepted");
}

// Any single byte of the descriptor and its tables may be anything: accepted or refused, never a crash.
TEST(descriptor_check, survives_every_byte_changed) {
  constexpr std::size_t bytes =
      sizeof(plugin_descriptor) + 3 * sizeof(param_descriptor) + 2 * sizeof(port_descriptor) + 3 * sizeof(char const*);
  std::size_t refused = 0, tried = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    for (unsigned char const change : {0x01, 0x40, 0x80, 0xff}) {
      made_up lib;
      reinterpret_cast<unsigned char*>(&lib.descriptor())[i] ^= change;
      ++tried;
      refused += lib.refusal() != "accepted";
    }
  EXPECT_EQ(tried, bytes * 4);
  EXPECT_GT(refused, tried / 2);
}

TEST(plugin_id, is_a_lower_case_word) {
  for (auto const* good : {"a", "lda", "topic_transformer", "t5", "a_"}) EXPECT_TRUE(host::is_plugin_id(good)) << good;
  for (auto const* bad : {"", "A", "5t", "_a", "a-b", "a.b", "../a", "a/b", "\xc3\xa4"})
    EXPECT_FALSE(host::is_plugin_id(bad)) << bad;
  EXPECT_TRUE(host::is_plugin_id(std::string(64, 'a')));
  EXPECT_FALSE(host::is_plugin_id(std::string(65, 'a')));
  EXPECT_FALSE(host::is_plugin_id(std::string_view("a\0b", 3)));
}

TEST(names, of_kinds_and_types) {
  EXPECT_EQ(host::name_of(plugin_kind::metric), "metric");
  EXPECT_EQ(host::name_of(param_type::integer_list), "integer list");
  EXPECT_EQ(host::name_of(port_kind::results), "results");
  EXPECT_EQ(host::name_of(static_cast<port_kind>(77)), "");
}

}  // namespace
