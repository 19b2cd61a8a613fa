#include "trainer.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/safetensors.hpp>
#include <wayfarer/stopping.hpp>

namespace wayfarer::language_training {
namespace {

// Named after the plugin that wrote it first.
constexpr char format[] = "gpt2_trained state 1";

/// Of everything that is read back: the update, and names, types, shapes and numbers, in their order.
std::string checksum_of(named_tensors const& all, std::string const& training, std::string const& update) {
  sha256 sum;
  sum.update(training + "\n" + update);
  for (auto const& [name, t] : all) {
    tensor const whole = t.contiguous() ? t : t.clone();
    sum.update("\n" + name + " " + std::string(name_of(t.type())));
    for (auto const& d : t.shape()) sum.update(" " + std::to_string(d.size));
    sum.update(":").update(std::span(static_cast<std::byte const*>(whole.raw()), whole.bytes()));
  }
  return sum.hex();
}

void write_kept(std::string const& path, named_tensors const& all, std::string const& training, std::size_t at) {
  std::string const update = std::to_string(at);
  write_safetensors(
      path, all,
      {{"format", format}, {"training", training}, {"update", update}, {"checksum", checksum_of(all, training, update)}});
}

std::string fact(safetensors_file const& of, char const* name) {
  auto const found = of.metadata().find(name);
  return found == of.metadata().end() ? std::string() : found->second;
}

/// What is wrong with the numbers of a kept file, "" for nothing.
std::string fault_of(safetensors_file const& stored) {
  std::string const wanted = fact(stored, "checksum");
  if (wanted.empty()) return "has no checksum, since an earlier version wrote it, and damage would go unnoticed";
  if (fact(stored, "update").empty()) return "names no update, since an earlier version wrote it";
  named_tensors all;
  for (auto const& name : stored.names()) all.emplace_back(name, stored.tensor(name));
  return checksum_of(all, fact(stored, "training"), fact(stored, "update")) == wanted
             ? ""
             : "is damaged: its numbers do not have its checksum";
}

template <class T>
struct loop {
  net<T>& learner;
  training_plan const& plan;
  token_stream const& data;
  token_stream const* held_out;
  training_observer<T> const& tell;

  std::vector<T> m{}, v{};
  std::size_t update = 0;
  double loss_sum = 0;  // since the last entry of the curve
  std::size_t loss_count = 0;
  training_curves curves{};

  std::string file(std::string const& name) const { return (std::filesystem::path(plan.state) / name).string(); }
  std::string snapshot_file(std::size_t at) const { return file("snapshot-" + std::to_string(at) + ".safetensors"); }

  void write_state() const {
    if (plan.state.empty()) return;
    auto const numbers = [](auto const& x) {
      using V = std::remove_cvref_t<decltype(x[0])>;
      return tensor::of(std::span<V const>(x.data(), x.size()), {{"n", x.size()}});
    };
    std::vector<std::int64_t> const counters{static_cast<std::int64_t>(update), static_cast<std::int64_t>(loss_count)};
    std::vector<double> const sums{loss_sum};
    named_tensors const all{{"weights", numbers(std::as_const(learner).values())},
                            {"m", numbers(m)},
                            {"v", numbers(v)},
                            {"counters", numbers(counters)},
                            {"sums", numbers(sums)},
                            {"logged", numbers(curves.logged)},
                            {"losses", numbers(curves.losses)},
                            {"rates", numbers(curves.rates)},
                            {"norms", numbers(curves.norms)},
                            {"held_out_at", numbers(curves.held_out_at)},
                            {"held_out_losses", numbers(curves.held_out_losses)}};
    write_kept(file("state.safetensors"), all, plan.key, update);
  }

  std::string begin_anew() const {
    return "; remove " + file("state.safetensors") +
           " and the snapshot-*.safetensors beside it to train anew, with the same result";
  }

  safetensors_file open_kept(std::string const& path) const {
    try {
      return safetensors_file::open(path);
    } catch (data_error const& e) {
      throw data_error(e.what() + begin_anew());
    }
  }

  /// Whether there was a state to resume from.
  bool read_state() {
    if (plan.state.empty()) return false;
    std::error_code failed;
    std::filesystem::create_directories(plan.state, failed);
    if (failed) throw resource_error(plan.state + ": " + failed.message() + "; name another folder in train.state");
    remove_litter(plan.state, [](std::string_view name) {
      return name == "state.safetensors" || (name.starts_with("snapshot-") && name.ends_with(".safetensors"));
    });
    std::string const path = file("state.safetensors");
    if (!std::filesystem::exists(path)) return false;
    auto const stored = open_kept(path);
    if (fact(stored, "format") != format)
      throw data_error(path + ": this is not a state of a training; remove it or name another folder");
    if (fact(stored, "training") != plan.key)
      throw usage_error(
          path +
          ": this is the state of another training, with other parameters or texts; remove it to begin anew, or name "
          "another folder in train.state");
    auto const read = [&]<class V>(char const* name, V&& into, std::size_t count) {
      using value = std::remove_cvref_t<decltype(into[0])>;
      tensor const t = stored.tensor(name);
      if (t.rank() != 1 || t.type() != dtype_of<value>() || (count != SIZE_MAX && t.size(0) != count))
        throw data_error(path + ": '" + std::string(name) + "' is " + describe(t.shape()) +
                         ", which does not fit this training; remove the file");
      tensor const own = t.contiguous() ? t : t.clone();
      auto const from = own.template values<value const>();
      if constexpr (requires { into.resize(1); }) into.resize(from.size());
      std::copy(from.begin(), from.end(), into.begin());
    };
    std::size_t const n = learner.values().size();
    std::vector<std::int64_t> counters;
    std::vector<double> sums;
    read("weights", learner.values(), n);
    read("m", m, n), read("v", v, n);
    read("counters", counters, 2), read("sums", sums, 1);
    read("logged", curves.logged, SIZE_MAX);
    std::size_t const logged = curves.logged.size();
    read("losses", curves.losses, logged), read("rates", curves.rates, logged), read("norms", curves.norms, logged);
    read("held_out_at", curves.held_out_at, SIZE_MAX);
    read("held_out_losses", curves.held_out_losses, curves.held_out_at.size());
    if (std::string const fault = fault_of(stored); !fault.empty()) throw data_error(path + ": " + fault + begin_anew());
    if (counters[0] < 0 || static_cast<std::size_t>(counters[0]) > plan.updates || counters[1] < 0)
      throw data_error(path + ": update " + std::to_string(counters[0]) + " lies beyond this training; remove the file");
    update = static_cast<std::size_t>(counters[0]), loss_count = static_cast<std::size_t>(counters[1]), loss_sum = sums[0];
    return true;
  }

  bool wants_snapshot(std::size_t at) const {
    return std::find(plan.snapshots.begin(), plan.snapshots.end(), at) != plan.snapshots.end();
  }

  void snapshot() const {
    if (!wants_snapshot(update)) return;
    auto const now = learner.copy();
    if (!plan.state.empty()) write_kept(snapshot_file(update), now, plan.key, update);
    if (tell.snapshot) tell.snapshot(update, now);
  }

  named_tensors read_snapshot(std::size_t at) const {
    auto const stored = open_kept(snapshot_file(at));
    if (fact(stored, "training") != plan.key)
      throw data_error(stored.path() + ": this is not a snapshot of this training" + begin_anew());
    if (std::string const fault = fault_of(stored); !fault.empty()) throw data_error(stored.path() + ": " + fault + begin_anew());
    if (fact(stored, "update") != std::to_string(at))
      throw data_error(stored.path() + ": is the snapshot of update " + fact(stored, "update") + " under another name" +
                       begin_anew());
    named_tensors now;
    for (auto const& p : learner.parameters()) now.emplace_back(p.name, stored.tensor(p.name).clone());
    return now;
  }

  /// Without a state, snapshots of another training would be written over.
  void keep_other_snapshots() const {
    for (auto const at : plan.snapshots) {
      if (plan.state.empty() || !std::filesystem::exists(snapshot_file(at))) continue;
      auto const stored = safetensors_file::open(snapshot_file(at));
      if (fact(stored, "training") != plan.key)
        throw usage_error(stored.path() +
                          ": this is a snapshot of another training; remove it, or name another folder in train.state");
    }
  }

  /// Those that were taken before the run was interrupted. The first and the last can be made again; `start` is the first, or
  /// empty.
  void repeat_snapshots(named_tensors const& start) const {
    for (auto const at : plan.snapshots) {
      if (at > update) break;
      named_tensors now;
      try {
        now = read_snapshot(at);
      } catch (data_error const& e) {
        if (at != 0 && at != update) throw;
        bool const there = std::filesystem::exists(snapshot_file(at));
        std::string why = e.what();
        if (why.ends_with(begin_anew())) why.resize(why.size() - begin_anew().size());
        if (there && tell.warn) tell.warn(why + "; it is made again");
        now = at == 0 ? start : learner.copy();
        write_kept(snapshot_file(at), now, plan.key, at);
      }
      if (tell.snapshot) tell.snapshot(at, now);
    }
  }

  static bool due(std::size_t every, std::size_t at, std::size_t last) {
    return every > 0 && (at == 1 || at % every == 0 || at == last);
  }

  void measure() {
    if (!held_out || !due(plan.held_out_every, update, plan.updates)) return;
    // After a stop it may be there already.
    if (!curves.held_out_at.empty() && curves.held_out_at.back() == static_cast<std::int64_t>(update)) return;
    curves.held_out_at.push_back(static_cast<std::int64_t>(update));
    curves.held_out_losses.push_back(
        held_out_loss(std::as_const(learner), *held_out, plan.batch, plan.context, plan.held_out_windows));
  }

  void step() {
    auto const batch = draw_windows(data, plan.seed, update, plan.batch, plan.context);
    double const loss = learner.learn(batch.tokens, batch.targets, plan.context);
    double const norm = norm_of<T>(std::span<T const>(learner.gradient()));
    undivided_work const whole;  // a stop before here has changed nothing
    ++update;
    if (!std::isfinite(loss) || !std::isfinite(norm))
      throw usage_error("the loss is no longer finite at update " + std::to_string(update) +
                        "; lower train.learning_rate, or set train.clip");
    double const scale = plan.clip > 0 && norm > plan.clip ? plan.clip / norm : 1, rate = plan.rate.at(update);
    adamw_options plain = plan.adam;
    plain.decay = 0;
    // Neighbours that are treated alike go together: what lies between the tensors is 0 and stays so.
    auto const& all = learner.parameters();
    for (std::size_t i = 0; i < all.size();) {
      std::size_t j = i;
      while (j < all.size() && all[j].decays == all[i].decays) ++j;
      std::size_t const first = all[i].first, n = (j < all.size() ? all[j].first : learner.values().size()) - first;
      adamw_step<T>(learner.values().subspan(first, n), learner.gradient().subspan(first, n), std::span<T>(m).subspan(first, n),
                    std::span<T>(v).subspan(first, n), update, rate, scale, all[i].decays ? plan.adam : plain);
      i = j;
    }
    loss_sum += loss, ++loss_count;
    if (due(plan.log_every, update, plan.updates)) {
      curves.logged.push_back(static_cast<std::int64_t>(update));
      curves.losses.push_back(loss_sum / static_cast<double>(loss_count));
      curves.rates.push_back(rate), curves.norms.push_back(norm);
      loss_sum = 0, loss_count = 0;
    }
  }

  void run() {
    m.resize(learner.values().size()), v.resize(m.size());
    if (held_out && held_out->tokens.size() < 2) throw data_error("train.held_out: the source gives fewer than two tokens");
    named_tensors start;
    if (!plan.state.empty() && wants_snapshot(0)) start = learner.copy();
    bool const resumed = read_state();
    try {
      if (resumed)
        measure(), repeat_snapshots(start);
      else
        keep_other_snapshots(), snapshot();
      while (update < plan.updates) {
        stop_if_asked();
        step();
        measure();
        snapshot();
        if (tell.progress) tell.progress(update, curves);
        if (update == plan.updates || (plan.state_every > 0 && update % plan.state_every == 0)) write_state();
      }
    } catch (stopped const&) {
      // A step is never interrupted; the work after an update is done when the run resumes.
      write_state();
      throw;
    }
  }
};

}  // namespace

template <class T>
double held_out_loss(net<T> const& learner, token_stream const& stream, std::size_t batch, std::size_t length, std::size_t most) {
  std::size_t const window = std::min(length, stream.tokens.size() - 1);
  std::size_t windows = (stream.tokens.size() - 1) / window;
  if (most > 0) windows = std::min(windows, most);
  double sum = 0;
  for (std::size_t first = 0; first < windows; first += batch) {
    auto const some = take_windows(stream, first, std::min(batch, windows - first), window);
    sum += learner.loss(some.tokens, some.targets, window);
  }
  return sum / static_cast<double>(windows * window);
}

template <class T>
training_curves train(net<T>& learner, training_plan const& plan, token_stream const& data, token_stream const* held_out,
                      training_observer<T> const& tell) {
  loop<T> now{learner, plan, data, held_out, tell};
  now.run();
  return std::move(now.curves);
}

template double held_out_loss<float>(net<float> const&, token_stream const&, std::size_t, std::size_t, std::size_t);
template double held_out_loss<double>(net<double> const&, token_stream const&, std::size_t, std::size_t, std::size_t);
template training_curves train<float>(net<float>&, training_plan const&, token_stream const&, token_stream const*,
                                      training_observer<float> const&);
template training_curves train<double>(net<double>&, training_plan const&, token_stream const&, token_stream const*,
                                       training_observer<double> const&);

}  // namespace wayfarer::language_training
