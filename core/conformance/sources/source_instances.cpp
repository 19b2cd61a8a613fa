// The rules repeatable, independent_instances, many_threads and stable_info.
#include "conformance/sources/source_case.hpp"

namespace wayfarer::host::conformance {

void check_reads_repeat(source_case const& c, reporter& out) {
  auto const all = digests_of_items(c);
  if (digests_of_items(c) != all) throw violation("repeatable", "the same range read twice gives other items");
  std::string text;
  for (auto const& one : all) text += one;
  out.digest("items", text);
  out.digest("info", digest_of(c.subject->info()));
}

void check_instances_take_turns(source_case const& c, reporter&) {
  auto const all = digests_of_items(c);
  auto const other = c.bench->make<source>();
  if (digest_of(other->info()) != digest_of(c.subject->info()))
    throw violation("stable_info", "two instances with the same parameters say different things");
  for (std::size_t i = 0; i < all.size(); ++i) {
    other->read({all.size() - 1 - i, all.size() - i});
    for (source const* s : {c.subject.get(), static_cast<source const*>(other.get())})
      if (digests_of_items(*s, {i, i + 1}, 1)[0] != all[i])
        throw violation("independent_instances", "item " + std::to_string(i) + " differs while another instance is read");
  }
}

void check_reading_on_threads(source_case const& c, reporter&) {
  auto const all = digests_of_items(c);
  for (int round = 0; round < 20; ++round)
    on_threads(4, [&](std::size_t t) {
      if (digests_of_items(*c.subject, c.some, 1 + t) != all)
        throw violation("many_threads", "items differ when four threads read at once");
    });
}

void check_source_info_is_stable(source_case const& c, reporter&) {
  auto const fresh = c.bench->make<source>();
  std::string const before = digest_of(fresh->info());
  fresh->read(c.some);
  if (digest_of(fresh->info()) != before) throw violation("stable_info", "info() changes when items are read");
}

}  // namespace wayfarer::host::conformance
