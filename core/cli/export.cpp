// wayfarer export: a node's datasets as files for other programs.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/run_files.hpp>

#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "export/export.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

// The child sends its files as one text: for each the lengths of name and contents, 8 bytes each, and both.
void put_length(std::string& to, std::size_t n) {
  std::uint64_t const length = n;
  to.append(reinterpret_cast<char const*>(&length), sizeof length);
}

std::string packed(std::vector<export_file> const& files) {
  std::string out;
  for (auto const& f : files) {
    put_length(out, f.name.size());
    put_length(out, f.bytes.size());
    out += f.name;
    out += f.bytes;
  }
  return out;
}

std::vector<export_file> unpacked(std::string_view text) {
  std::vector<export_file> out;
  while (!text.empty()) {
    std::uint64_t lengths[2] = {};
    if (text.size() < sizeof lengths) throw data_error("the reading process sent half a file");
    std::memcpy(lengths, text.data(), sizeof lengths);
    text.remove_prefix(sizeof lengths);
    if (lengths[0] > text.size() || lengths[1] > text.size() - lengths[0])
      throw data_error("the reading process sent half a file");
    out.push_back({std::string(text.substr(0, lengths[0])), std::string(text.substr(lengths[0], lengths[1]))});
    text.remove_prefix(lengths[0] + lengths[1]);
  }
  return out;
}

/// The datasets that are wanted, each cut to one item if one was chosen.
export_node read_node(result_reader const& r, dataset_name const& wanted, fs::path const& file,
                      std::optional<std::int64_t> item) {
  export_node out;
  out.name = wanted.node, out.title = r.title(), out.result = file.stem().string();
  std::size_t with_items = 0;
  auto const take = [&](std::string const& name, std::vector<slice_item> items, std::vector<named_slice>& into) {
    if (item && items.empty()) {
      auto const h = r.header(wanted.node, name);
      for (dim const& d : h.shape)
        if (d.name == "item") {
          slice_item only;
          only.what = slice_item::form::index, only.dimension = "item", only.first = *item,
          only.text = "item=" + std::to_string(*item);
          items = {only};
          ++with_items;
          break;
        }
    }
    bool const sliced = !items.empty();
    into.push_back({name, read_slice(r, {wanted.node, name, std::move(items), sliced})});
  };
  auto const all = r.datasets(wanted.node);
  if (wanted.dataset.empty()) {
    for (auto const& name : all) take(name, {}, out.datasets);
  } else {
    out.chosen = true;
    take(wanted.dataset, wanted.items, out.datasets);
  }
  for (auto const& name : all) {
    std::string const last = name.substr(name.rfind('/') + 1);
    if ((last == "tokens" || last == "token_texts") && r.header(wanted.node, name).text) take(name, {}, out.tokens);
  }
  if (item && with_items == 0 && !wanted.sliced)
    throw usage_error("--item: no dataset of " + wanted.node + " has a dimension 'item'");
  if (out.datasets.empty()) throw usage_error("node '" + wanted.node + "' has no datasets");
  return out;
}

std::string about() {
  std::string out =
      "Writes a node's datasets, or one of them or a slice, as files for other programs into a folder. Existing files are\n"
      "replaced only with --force. The forms:\n";
  for (auto const& f : export_forms()) {
    std::string name = f.name;
    name.resize(20, ' ');
    out += "\n  " + name + f.about;
  }
  return out;
}

}  // namespace

int export_verb(words const& arguments) {
  verb_options o(
      "export RESULT.h5 NODE[/DATASET[SLICE]] --to FORM DIR", about(),
      {"wayfarer export words.h5 walk --to csv walk-csv", "wayfarer export words.h5 walk --to embedding-projector projector",
       "wayfarer export activations.h5 patterns --item 0 --to bertviz bertviz",
       "wayfarer export activations.h5 'states/ln_final.hook_out[item=0]' --to npy arrays"});
  o.positional("RESULT.h5");
  o.positional("NODE");
  o.positional("DIR");
  o.named().add_options()("to", po::value<std::string>()->value_name("FORM"), "the form to write; see above")(
      "item", po::value<std::int64_t>()->value_name("N"), "export only this item of datasets that have several")(
      "force", "replace files in DIR that have the names of those to be written");
  if (!o.parse(arguments)) return 0;
  fs::path const file = o.place("RESULT.h5", "the result file to read, such as my.h5");
  dataset_name const wanted = parse_dataset_name(o.required("NODE"));
  fs::path const folder = o.place("DIR", "the folder to write");
  export_form const& form = find_export_form(o.required("to"));
  std::optional<std::int64_t> item;
  if (o.has("item")) item = o.get<std::int64_t>("item");
  if (item && wanted.sliced)
    throw usage_error("--item: the slice already selects items; write item=" + std::to_string(*item) + " in it");
  provide_run_inputs({file.string()});

  auto const files = unpacked(make_text_in_child({file}, [&] {
    result_reader const r(file);
    return packed(form.files(read_node(r, wanted, file, item)));
  }));
  std::set<std::string> names;
  for (auto const& f : files)
    if (f.name != file_name_of(f.name) || !names.insert(f.name).second)
      throw usage_error(wanted.node + ": two files would be called " + f.name + "; export one dataset at a time, NODE/DATASET");

  std::error_code failed;
  fs::create_directory(folder, failed);
  if (failed) throw usage_error(folder.string() + ": can't make the folder: " + failed.message());
  std::vector<output_place> places;
  for (auto const& f : files) places.push_back(foreign_place((folder / f.name).string(), "DIR", o.has("force")));
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    write_file_atomically(places[i].path, files[i].bytes);
    bytes += files[i].bytes.size();
  }
  std::printf("%s: %s, %s\n", printable(folder.string()).c_str(),
              files.size() == 1 ? printable(files[0].name).c_str() : (std::to_string(files.size()) + " files").c_str(),
              format_size(bytes).c_str());
  return 0;
}

}  // namespace wayfarer::host
