#include "report/report.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/version.hpp>

#include "report/cut.hpp"
#include "report/encode.hpp"
#include "report/page.hpp"

namespace wayfarer::host {

namespace {

/// A page with more would be unusable; only crafted files have so many.
constexpr std::size_t most_datasets = 4'000, most_nodes = 1'000;
constexpr std::size_t longest_text = 400'000, longest_parameters = 20'000;
/// What a block costs beside its contents: its tags, and its entry in the manifest.
constexpr std::size_t block_overhead = 400;

/// UTF-8 of about `most` bytes, cut before a character.
std::string cut_text(std::string_view text, std::size_t most) {
  std::string clean = clean_utf8(text);
  if (clean.size() <= most) return clean;
  while (most > 0 && (static_cast<unsigned char>(clean[most]) & 0xc0) == 0x80) --most;
  return clean.substr(0, most) + "\n... (" + std::to_string(clean.size() - most) + " more bytes)";
}

json_value text_value(std::string_view text, std::size_t most = longest_text) {
  return json_value(cut_text(text, most));
}

double first_of(tensor const& t) {
  return t.to(dtype::f64).reshaped({{"one", t.count()}}).values<double const>()[0];
}

/// JSON has no NaN and no infinities.
json_value number_value(double x) {
  if (std::isnan(x)) return json_value("NaN");
  if (std::isinf(x)) return json_value(x > 0 ? "Infinity" : "-Infinity");
  return json_value(x);
}

/// Values in a form that the page reads: little-endian f64, f32, i32 or u8, or a JSON array of texts.
struct packed {
  std::string type, bytes;
};

packed pack(std::vector<std::string> const& texts) {
  auto list = json_value::array();
  for (auto const& t : texts) list.push_back(json_value(clean_utf8(t)));
  return {"text", gzipped(to_json(list))};
}

template <class Number>
packed pack_numbers(char const* type, tensor const& t, dtype as) {
  tensor const whole = t.to(as);
  auto const bytes = std::as_bytes(whole.values<Number const>());
  std::string const planes = in_planes(bytes, sizeof(Number));
  return {type, gzipped(planes)};
}

packed pack(tensor const& t) {
  switch (t.type()) {
    case dtype::f64:
      return pack_numbers<double>("f64", t, dtype::f64);
    case dtype::i32:
      return pack_numbers<std::int32_t>("i32", t, dtype::i32);
    case dtype::u8:
      return pack_numbers<std::uint8_t>("u8", t, dtype::u8);
    case dtype::i64: {
      // A browser's numbers are doubles; what they can't hold exactly goes as text.
      constexpr std::int64_t exact = std::int64_t{1} << 53;
      tensor const whole = t.to(dtype::i64);
      auto const values = whole.values<std::int64_t const>();
      bool const fits = std::all_of(values.begin(), values.end(), [](std::int64_t v) { return v >= -exact && v <= exact; });
      if (fits) return pack_numbers<double>("f64", t, dtype::f64);
      std::vector<std::string> texts;
      for (auto const v : values) texts.push_back(std::to_string(v));
      return pack(texts);
    }
    default:
      return pack_numbers<float>("f32", t, dtype::f32);  // 16-bit numbers widen without loss
  }
}

/// The blocks of the page, equal ones once.
class blocks {
 public:
  std::size_t add(std::string const& bytes) {
    auto const [at, fresh] = numbers_.emplace(bytes, all_.size());
    if (fresh) {
      all_.push_back(base64(bytes));
      size_ += all_.back().size() + block_overhead;
    }
    return at->second;
  }
  bool has(std::string const& bytes) const { return numbers_.contains(bytes); }
  std::size_t size() const noexcept { return size_; }
  std::string html() const {
    std::string out;
    for (std::size_t i = 0; i < all_.size(); ++i)
      out += "<script type=\"application/octet-stream\" id=\"block" + std::to_string(i) + "\">" + all_[i] + "</script>\n";
    return out;
  }

 private:
  std::map<std::string, std::size_t> numbers_;
  std::vector<std::string> all_;
  std::size_t size_ = 0;
};

struct wanted_dataset {
  std::size_t node, place;
  std::string name;
  dataset_header header;
  json_value entry;

  double bytes() const {
    double n = header.text ? 16 : static_cast<double>(size_of(header.type));
    for (dim const& d : header.shape) n *= static_cast<double>(d.size);
    return n;
  }
};

class page_maker {
 public:
  page_maker(result_reader const& r, report_options const& o) : r_(r), o_(o), names_(r.nodes()) {
    for (auto const& n : o.nodes)
      if (std::find(names_.begin(), names_.end(), n) == names_.end())
        throw usage_error(o.file_name + " has no node '" + n + "'" + did_you_mean(n, names_));
    if (names_.size() > most_nodes) throw data_error(o.file_name + " has more than " + std::to_string(most_nodes) + " nodes");
  }

  std::string make() {
    read_plan();
    json_value manifest = front();
    std::string const head = html_head();
    page_bundle const page = bundled_page();
    std::size_t const frame = head.size() + page.style.size() + page.script.size() + html_text(page.licences).size() +
                              base64(gzipped(to_json(manifest))).size() + 4'000;
    if (frame > o_.max_bytes)
      throw usage_error("--max-size: the page takes " + std::to_string(frame) + " bytes without any dataset; give it more");
    choose_datasets();
    room_ = o_.max_bytes - frame;
    std::vector<wanted_dataset*> by_size;
    for (auto& w : wanted_) by_size.push_back(&w);
    // Small ones first: what they leave of their shares is for the large ones.
    std::stable_sort(by_size.begin(), by_size.end(), [](auto* a, auto* b) { return a->bytes() < b->bytes(); });
    for (std::size_t i = 0; i < by_size.size(); ++i) {
      std::size_t const left = room_ > blocks_.size() ? room_ - blocks_.size() : 0;
      take(*by_size[i], left / (by_size.size() - i));
    }
    std::map<std::size_t, json_value> lists;
    for (std::size_t n = 0; n < names_.size(); ++n) lists[n] = json_value::array();
    for (auto const& w : wanted_) lists[w.node].push_back(w.entry);
    auto nodes = json_value::array();
    for (std::size_t n = 0; n < names_.size(); ++n) nodes.push_back(node_entry(n, lists[n]));
    manifest.set("nodes", nodes);
    std::string const packed_manifest = base64(gzipped(to_json(manifest)));
    return head + "<style>" + std::string(page.style) +
           "</style>\n</head>\n<body>\n<div id=\"page\"><noscript>This report draws " +
           "itself with a script of its own; allow scripts for this file. It makes no request to anywhere.</noscript></div>\n" +
           "<script type=\"application/octet-stream\" id=\"manifest\">" + packed_manifest + "</script>\n" + blocks_.html() +
           "<template id=\"licences\">" + html_text(page.licences) + "</template>\n<script>" + std::string(page.script) +
           "</script>\n</body>\n</html>\n";
  }

 private:
  std::string html_head() const {
    page_bundle const page = bundled_page();
    std::string const title = r_.title().empty() ? o_.file_name : r_.title();
    return std::string(report_mark) +
           " " WAYFARER_VERSION
           " -->\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" "
           "content=\"default-src 'none'; script-src " +
           policy_hash(page.script) + "; style-src " + policy_hash(page.style) +
           "; img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'\">\n"
           "<meta name=\"referrer\" content=\"no-referrer\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" "
           "content=\"light dark\">\n"
           "<title>" +
           html_text(cut_text(title, 300)) + "</title>\n";
  }

  /// What feeds what, from the plan that the file holds. A file whose plan can't be read still has its nodes.
  void read_plan() {
    try {
      json_value const plan = parse_json(r_.run_text("plan"), "_run/plan", tokenizer_limits);
      auto const nodes = plan.find("nodes");
      if (!nodes) return;
      for (auto const& [name, node] : nodes->members()) {
        auto list = json_value::array();
        if (auto const ports = node.find("ports"))
          for (auto const& [port, target] : ports->members())
            list.push_back(json_value::object({{"port", json_value(port)}, {"from", json_value(target.as_string())}}));
        if (auto const edits = node.find("edits"))
          for (json_value const edit : edits->elements())
            for (char const* how : {"set", "add"})
              if (auto const value = edit.find(how); value && value->kind() == json_kind::object)
                if (auto const from = value->find("node"))
                  list.push_back(json_value::object({{"port", json_value("edit")}, {"from", json_value(from->as_string())}}));
        inputs_[name] = list;
      }
    } catch (data_error const&) {
      inputs_.clear();
    }
  }

  json_value columns(std::string const& prefix) const {
    auto out = json_value::array();
    for (auto const& name : r_.datasets("_run")) {
      if (!name.starts_with(prefix + "/")) continue;
      dataset const d = r_.read("_run", name);
      if (d.shape().size() != 1) continue;
      auto values = json_value::array();
      for (std::size_t i = 0; i < d.shape()[0].size; ++i)
        values.push_back(d.is_text() ? text_value(d.texts()[i], 4'000) : number_value(d.values().get({i})));
      out.push_back(json_value::object({{"name", text_value(name.substr(prefix.size() + 1), 200)}, {"values", values}}));
    }
    return out;
  }

  json_value front() const {
    auto warnings = json_value::array();
    if (auto const all = r_.datasets("_run"); std::find(all.begin(), all.end(), "warnings") != all.end()) {
      dataset const d = r_.read("_run", "warnings");
      if (d.is_text())
        for (std::size_t i = 0; i < std::min<std::size_t>(d.texts().size(), 200); ++i)
          warnings.push_back(text_value(d.texts()[i], 2'000));
    }
    auto const of_run = r_.datasets("_run");
    // A reproducible run leaves out what differs between runs.
    auto const number = [&](char const* name) {
      if (std::find(of_run.begin(), of_run.end(), name) == of_run.end()) return json_value();
      dataset const d = r_.read("_run", name);
      bool const one = !d.is_text() && d.values().count() == 1;
      return number_value(one ? first_of(d.values()) : std::numeric_limits<double>::quiet_NaN());
    };
    return json_value::object({{"format", json_value(1)},
                               {"wayfarer", json_value(WAYFARER_VERSION)},
                               {"file", text_value(o_.file_name, 1'000)},
                               {"file_bytes", json_value(o_.file_bytes)},
                               {"title", text_value(r_.title(), 1'000)},
                               {"seed", json_value(std::to_string(r_.seed()))},
                               {"started", text_value(r_.run_text("started"), 100)},
                               {"ended", text_value(r_.run_text("ended"), 100)},
                               {"threads", number("threads")},
                               {"peak_memory", number("peak_memory")},
                               {"pipeline", text_value(r_.run_text("pipeline"))},
                               {"warnings", warnings},
                               {"versions", columns("versions")},
                               {"environment", columns("environment")},
                               {"inputs", columns("inputs")},
                               {"expectations", columns("expectations")}});
  }

  json_value node_entry(std::size_t n, json_value const& datasets) const {
    node_record const node = r_.node(names_[n]);
    auto out = json_value::object({{"name", text_value(node.name, 300)},
                                   {"plugin", text_value(node.plugin, 300)},
                                   {"kind", text_value(node.kind, 100)},
                                   {"version", text_value(node.plugin_version, 100)},
                                   {"parameters", text_value(node.parameters, longest_parameters)},
                                   {"key", text_value(node.key, 100)},
                                   {"seconds", number_value(node.seconds)},
                                   {"summary", text_value(node.summary, 4'000)},
                                   {"taken", json_value(taken(node.name))}});
    auto const from = inputs_.find(node.name);
    out.set("inputs", from == inputs_.end() ? json_value::array() : from->second);
    out.set("left_out", json_value(left_out_.contains(n) ? left_out_.at(n) : 0));
    return out.set("datasets", datasets);
  }

  bool taken(std::string const& node) const {
    return o_.nodes.empty() || std::find(o_.nodes.begin(), o_.nodes.end(), node) != o_.nodes.end();
  }

  void choose_datasets() {
    for (std::size_t n = 0; n < names_.size(); ++n) {
      if (!taken(names_[n])) continue;
      for (auto const& name : r_.datasets(names_[n])) {
        if (wanted_.size() < most_datasets)
          wanted_.push_back({n, wanted_.size(), name, r_.header(names_[n], name), {}});
        else
          ++left_out_[n];
      }
    }
  }

  /// The coordinate of an axis: "labels", "numbers" or "" and its bytes.
  static std::pair<std::string, std::string> coordinate(dataset const& d, std::size_t a) {
    dim const& x = d.shape()[a];
    if (auto const* labels = d.find_labels(x.name); labels && labels->size() == x.size) return {"labels", pack(*labels).bytes};
    if (auto const at = d.coordinate_map().find(x.name); at != d.coordinate_map().end() && at->second.count() == x.size)
      return {"numbers", pack(at->second.to(dtype::f64)).bytes};
    return {};
  }

  std::size_t cost_of(std::string const& bytes) const {
    return bytes.empty() || blocks_.has(bytes) ? 0 : bytes.size() / 3 * 4 + block_overhead;
  }

  json_value axes_of(dataset const& d, dataset_header const& whole) {
    auto out = json_value::array();
    for (std::size_t a = 0; a < d.shape().size(); ++a) {
      dim const& x = d.shape()[a];
      auto axis = json_value::object(
          {{"name", text_value(x.name, 200)}, {"size", json_value(x.size)}, {"full", json_value(whole.shape[a].size)}});
      if (auto const [kind, bytes] = coordinate(d, a); !kind.empty()) axis.set(kind, json_value(blocks_.add(bytes)));
      out.push_back(axis);
    }
    return out;
  }

  /// Reads as much of a dataset as `share` bytes of the page can hold.
  void take(wanted_dataset& w, std::size_t share) {
    dataset_header const& h = w.header;
    double const each = h.text ? 16 : static_cast<double>(size_of(h.type) < 4 ? 4 : size_of(h.type)) * 1.34;
    auto most = static_cast<std::size_t>(static_cast<double>(share) / each);
    for (;;) {
      auto const kept = part_that_fits(h.shape, most);
      std::vector<index_range> part;
      for (std::size_t const k : kept) part.push_back({0, k});
      dataset const d = h.shape.empty() ? r_.read(names_[w.node], w.name) : r_.read(names_[w.node], w.name, part);
      packed const p = d.is_text() ? pack(d.texts()) : pack(d.values());
      std::size_t cost = cost_of(p.bytes);
      for (std::size_t a = 0; a < d.shape().size(); ++a) cost += cost_of(coordinate(d, a).second);
      std::size_t const values = element_count(d.shape());
      if (cost > share && values > 1) {  // texts are longer than was thought
        most = std::min(most / 2, values / 2);
        continue;
      }
      w.entry = json_value::object({{"name", text_value(w.name, 300)},
                                    {"type", json_value(p.type)},
                                    {"stored", json_value(h.text ? "text" : std::string(name_of(h.type)))},
                                    {"about", text_value(h.about, 4'000)},
                                    {"units", text_value(h.units, 300)},
                                    {"missing", text_value(h.missing, 1'000)},
                                    {"view", text_value(h.view, 2'000)},
                                    {"axes", axes_of(d, h)}});
      if (element_count(h.shape) == 1) {  // whatever its axes
        w.entry.set("value", d.is_text() ? text_value(d.texts()[0], 20'000)
                             : d.values().type() == dtype::i64
                                 ? json_value(std::to_string(d.values().reshaped({{"one", 1}}).values<std::int64_t const>()[0]))
                                 : number_value(first_of(d.values())));
      } else {
        w.entry.set("block", json_value(blocks_.add(p.bytes)));
      }
      return;
    }
  }

  result_reader const& r_;
  report_options const& o_;
  std::vector<std::string> names_;
  std::map<std::string, json_value, std::less<>> inputs_;
  std::vector<wanted_dataset> wanted_;
  std::map<std::size_t, std::size_t> left_out_;
  blocks blocks_;
  std::size_t room_ = 0;
};

}  // namespace

std::string make_report(result_reader const& r, report_options const& o) {
  return page_maker(r, o).make();
}

}  // namespace wayfarer::host
