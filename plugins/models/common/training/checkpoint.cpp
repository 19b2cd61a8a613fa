#include "checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/run_files.hpp>
#include <wayfarer/safetensors.hpp>

namespace wayfarer::language_training {
namespace fs = std::filesystem;

namespace {

// The format is named after the plugin that wrote it first.
constexpr char list_name[] = "wayfarer-save.json", list_format[] = "gpt2_trained save 1", weights_name[] = "model.safetensors",
               config_name[] = "config.json";
constexpr json_limits list_limits{std::size_t{64} << 10, 4, 1000};
using names = std::set<std::string, std::less<>>;

/// Whether readers of checkpoints take a file of this name for a part of one.
bool is_model_file(std::string_view name) {
  static names const whole{"config.json",
                           "generation_config.json",
                           "tokenizer.json",
                           "tokenizer_config.json",
                           "special_tokens_map.json",
                           "added_tokens.json",
                           "vocab.json",
                           "merges.txt",
                           "vocab.txt",
                           "preprocessor_config.json",
                           "processor_config.json",
                           "adapter_config.json",
                           "chat_template.json",
                           "chat_template.jinja"};
  static constexpr std::string_view endings[] = {".safetensors", ".bin",  ".index.json", ".model", ".pt",
                                                 ".pth",         ".ckpt", ".gguf",       ".onnx",  ".msgpack"};
  return whole.contains(name) || (name.starts_with("tf_model") && name.ends_with(".h5")) ||
         std::any_of(std::begin(endings), std::end(endings), [&](std::string_view e) { return name.ends_with(e); });
}

/// "format" of a safetensors file; nothing if it is none.
std::optional<std::string> format_of(std::string const& path) {
  try {
    auto const stored = safetensors_file::open(path);
    auto const found = stored.metadata().find("format");
    return found == stored.metadata().end() ? std::string() : found->second;
  } catch (error const&) {
    return {};
  }
}

bool is_state(std::string const& path) {
  auto const format = format_of(path);
  return format && format->starts_with("gpt2_trained state");
}

/// The files that an earlier save wrote into the folder.
names listed(std::string const& folder) {
  names out;
  try {
    auto const list = read_json((fs::path(folder) / list_name).string(), list_limits);
    if (list.at("format").as_string() != list_format) return {};
    for (auto const& name : list.at("files").elements())
      if (is_model_file(name.as_string()) && name.as_string().find('/') == std::string::npos) out.insert(name.as_string());
  } catch (error const&) {
    return {};
  }
  return out;
}

/// `digests`: of the files as they were written; without them a save is under way.
void write_list(std::string const& folder, names const& files, std::map<std::string, std::string> const& digests = {}) {
  auto all = json_value::array(), sums = json_value::object();
  for (auto const& name : files) all.push_back(name);
  for (auto const& [name, digest] : digests) sums.set(name, digest);
  auto list = json_value::object({{"format", list_format}, {"files", std::move(all)}});
  if (!digests.empty()) list.set("sha256", std::move(sums));
  write_file_atomically((fs::path(folder) / list_name).string(), to_json(list, 1) + "\n");
}

/// Whether somebody changed a file that an earlier save wrote.
bool is_changed(std::string const& folder, std::string const& name) {
  try {
    auto const list = read_json((fs::path(folder) / list_name).string(), list_limits);
    auto const sums = list.find_set("sha256");
    auto const digest = sums ? sums->find_set(name) : std::nullopt;
    return digest && digest->as_string() != sha256_file((fs::path(folder) / name).string());
  } catch (error const&) {
    return true;
  }
}

names files_to_write(tokenizer const* words) {
  names out{config_name, weights_name};
  if (words && words->files().empty()) out.insert({"vocab.json", "merges.txt"});
  if (words)
    for (auto const& file : words->files()) out.insert(fs::path(file).filename().string());
  return out;
}

/// Files of a model that no save of ours wrote, or that were changed since. The state of a training may lie in the same folder.
names foreign_files(std::string const& folder) {
  names out;
  names const own = listed(folder);
  std::error_code none;
  for (fs::directory_iterator at(folder, none), end; at != end; at.increment(none)) {
    std::string const name = at->path().filename().string();
    if (!is_model_file(name) || at->is_directory(none)) continue;
    if (own.contains(name) ? is_changed(folder, name) : !is_state(at->path().string())) out.insert(name);
  }
  return out;
}

/// A folder to write into: none that the run reads, and no file.
void check_folder(std::string const& option, std::string const& folder) {
  std::error_code none;
  auto const there = fs::status(folder, none);
  if (fs::exists(there) && !fs::is_directory(there))
    throw usage_error(option + " " + folder + ": is not a folder; name a folder to write to");
  if (auto const input = run_input_at(folder); input && !input->in_folder)
    throw usage_error(option + " " + folder + ": is read by this run" + (input->name == folder ? "" : " as " + input->name) +
                      "; name another folder");
}

/// UTF-8 of a code point below 2,048.
std::string utf8(unsigned c) {
  if (c < 128) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
}

/// vocab.json of the bytes alone, each under GPT-2's printable stand-in.
std::string byte_vocabulary() {
  auto vocabulary = json_value::object();
  unsigned stand_in = 256;
  for (unsigned b = 0; b < 256; ++b) {
    bool const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    vocabulary.set(utf8(printable ? b : stand_in++), b);
  }
  return to_json(vocabulary) + "\n";
}

}  // namespace

void check_save_place(save_place const& to, tokenizer const* words) {
  check_folder("train.save", to.folder);
  names const own = listed(to.folder), foreign = foreign_files(to.folder);
  output_rule rule;
  rule.option = "train.save", rule.wanted = "what an earlier train.save wrote", rule.force = "train.overwrite: true";
  rule.forced = to.overwrite;
  rule.is_own = [&](std::string const& path) { return own.contains(fs::path(path).filename().string()); };
  if (!foreign.empty() && !to.overwrite) {
    std::string all;
    for (auto const& name : foreign) all += (all.empty() ? "" : ", ") + name;
    throw usage_error(
        "train.save " + to.folder + ": holds files that were changed after they were saved, or of another model: " + all +
        "; name another folder, or set " + rule.force + " to replace that model (files that contradict the new one are removed)");
  }
  if (std::error_code none; !fs::exists(to.folder, none)) return;
  for (auto const& name : files_to_write(words)) check_output((fs::path(to.folder) / name).string(), rule);
}

void check_state_folder(std::string const& folder, std::vector<std::size_t> const& snapshots) {
  check_folder("train.state", folder);
  auto const refuse = [&](std::string const& path) {
    throw data_error(path + ": this is not a state of a training; remove it, or name another folder in train.state");
  };
  std::error_code none;
  std::string const state = (fs::path(folder) / "state.safetensors").string();
  bool const begun = fs::exists(fs::symlink_status(state, none));
  // Damage is for the reader to say.
  if (begun && !fs::is_regular_file(state, none)) refuse(state);
  if (auto const format = begun ? format_of(state) : std::nullopt; format && !is_state(state)) refuse(state);
  for (auto const at : snapshots) {
    std::string const path = (fs::path(folder) / ("snapshot-" + std::to_string(at) + ".safetensors")).string();
    if (!fs::exists(fs::symlink_status(path, none))) continue;
    auto const format = fs::is_regular_file(path, none) ? format_of(path) : std::nullopt;
    if (format ? !is_state(path) : !begun) refuse(path);
  }
}

void write_checkpoint(save_place const& place, json_value config, named_tensors const& weights, tokenizer const* words,
                      dtype type) {
  std::string const& folder = place.folder;
  fs::path const to(folder);
  named_tensors stored;
  for (auto const& [name, t] : weights) {
    if (type == dtype::f16) {
      tensor const wide = t.to(dtype::f64);
      for (double const x : wide.values<double const>())
        if (!(std::abs(x) < 65'520))
          throw usage_error(name + " holds " + std::to_string(x) + ", beyond float16; set train.save_as to f32");
    }
    stored.emplace_back(name, t.to(type));
  }
  check_save_place(place, words);
  std::error_code failed;
  fs::create_directories(to, failed);
  if (failed) throw resource_error(folder + ": " + failed.message() + "; name another folder in train.save");
  // config.json is written last, so that no reader mixes half of one model with half of another.
  names const files = files_to_write(words), before = listed(folder), foreign = foreign_files(folder);
  names gone = before, both = before;
  gone.insert(foreign.begin(), foreign.end()), both.insert(files.begin(), files.end());
  remove_litter(folder, [&](std::string_view name) { return both.contains(name) || name == list_name; });
  write_list(folder, both);
  auto const remove = [&](std::string const& name) {
    fs::remove(to / name, failed);
    if (failed) throw resource_error((to / name).string() + ": can't be removed: " + failed.message());
  };
  remove(config_name);
  for (auto const& name : gone)
    if (!files.contains(name)) remove(name);
  // A link in the folder gives way: what it leads to is somebody else's.
  auto const target = [&](std::string const& name) { return (to / name).string(); };
  if (words && words->files().empty()) {
    write_file_atomically(target("vocab.json"), byte_vocabulary());
    write_file_atomically(target("merges.txt"), "#version: 0.2\n");
  } else if (words) {
    for (auto const& file : words->files())
      write_file_atomically(target(fs::path(file).filename().string()), read_text(file, tokenizer_limits.bytes));
  }
  write_safetensors(target(weights_name), stored, {{"format", "pt"}});
  config.set("torch_dtype", type == dtype::f16 ? "float16" : "float32");
  if (words && words->special().eos) config.set("bos_token_id", *words->special().eos).set("eos_token_id", *words->special().eos);
  write_file_atomically((to / config_name).string(), to_json(config, 1) + "\n");
  std::map<std::string, std::string> digests;
  for (auto const& name : files) digests[name] = sha256_file(target(name));
  write_list(folder, files, digests);
}

}  // namespace wayfarer::language_training
