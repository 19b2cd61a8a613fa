#include <wayfarer/generate.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include <wayfarer/error.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/parallel.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/random.hpp>

namespace wayfarer {
namespace {

void check(sampling const& s) {
  if (!(s.temperature >= 0) || !std::isfinite(s.temperature))
    throw usage_error("the temperature must be a number of at least 0 (0: greedy), not " + std::to_string(s.temperature));
  if (!(s.top_p > 0 && s.top_p <= 1))
    throw usage_error("top_p must be above 0 and at most 1 (all tokens), not " + std::to_string(s.top_p));
}

/// The index of the largest, the lowest among equals; NaN is passed over.
std::size_t likeliest(std::span<float const> logits, std::uint64_t item, std::size_t step) {
  std::size_t best = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i]) && (best == logits.size() || logits[i] > logits[best])) best = i;
  if (best == logits.size() || (std::isinf(logits[best]) && logits[best] < 0))
    throw data_error("no next token for item " + std::to_string(item) + " at step " + std::to_string(step) +
                     ": none of its logits is a number; look for NaN or infinite weights with 'wayfarer model info --values'");
  return best;
}

/// What a token is drawn from: candidates [token] and as many weights, the first so many of them, with their sum.
struct law {
  std::vector<std::int32_t> candidates;
  std::vector<double> weight;
  double total = 0;
};

law law_of(std::span<float const> logits, sampling const& how, std::size_t best) {
  if (how.temperature == 0 || std::isinf(logits[best])) return {{static_cast<std::int32_t>(best)}, {1.0}, 1.0};
  law out;
  // Candidates by falling logit where only some are kept, else all in the order of their ids, which needs no sorting.
  bool const sorted = how.top_p < 1 || (how.top_k != 0 && how.top_k < logits.size());
  if (sorted) {
    out.candidates = top_k(logits, how.top_k == 0 ? logits.size() : how.top_k);
  } else {
    out.candidates.resize(logits.size());
    std::iota(out.candidates.begin(), out.candidates.end(), 0);
  }
  out.weight.resize(out.candidates.size());
  for (std::size_t i = 0; i < out.candidates.size(); ++i) {
    float const x = logits[static_cast<std::size_t>(out.candidates[i])];
    out.weight[i] = std::isnan(x) ? 0 : std::exp((static_cast<double>(x) - static_cast<double>(logits[best])) / how.temperature);
    out.total += out.weight[i];
  }
  if (how.top_p < 1) {
    // The smallest set that reaches top_p: the token that crosses the line is in it.
    double const wanted = how.top_p * out.total;
    double reached = 0;
    std::size_t kept = 0;
    while (kept < out.weight.size() && reached < wanted) reached += out.weight[kept++];
    out.weight.resize(kept);
    out.total = reached;
  }
  return out;
}

/// The tokens of each item, `one` for items that are not finished.
ragged<std::int32_t> lists_of(std::span<std::int32_t const> one) {
  ragged<std::int32_t> out;
  for (std::int32_t const token : one) out.push_back({&token, 1});
  return out;
}

ragged<std::int32_t> empty_lists(std::size_t n) {
  ragged<std::int32_t> out;
  out.offsets.assign(n + 1, 0);
  return out;
}

/// The last row of each item's logits. [item, vocabulary], float32.
tensor last_rows(activations const& captured, std::size_t items, std::size_t vocabulary) {
  tensor out(dtype::f32, {{"item", items}, {"token", vocabulary}});
  for (std::size_t i = 0; i < items; ++i) {
    tensor const& all = captured.at("logits", i);
    if (all.rank() != 2 || all.size(0) == 0 || all.size(1) != vocabulary)
      throw plugin_error("the model's logits are " + describe(all.shape()) + ", and should be rows of " +
                         std::to_string(vocabulary));
    tensor const row = all.slice(0, all.size(0) - 1, all.size(0)).to(dtype::f32);
    std::ranges::copy(row.values<float const>(), out.view<float>().row(i).begin());
  }
  return out;
}

}  // namespace

std::int32_t draw_token(std::span<float const> logits, sampling const& how, std::uint64_t item, std::size_t step) {
  check(how);
  law const from = law_of(logits, how, likeliest(logits, item, step));
  // A stream of its own for each step: its number is added to the purpose's, which keeps steps apart.
  double rest = random_stream(how.seed, stream_id("generate") + static_cast<std::uint32_t>(step), item).uniform() * from.total;
  std::size_t drawn = 0;
  for (std::size_t i = 0; i < from.weight.size(); ++i) {
    if (from.weight[i] == 0) continue;
    drawn = i;  // the last one with any weight, should rounding leave something over
    if (rest < from.weight[i]) break;
    rest -= from.weight[i];
  }
  return from.candidates[drawn];
}

double log_probability_of_draw(std::span<float const> logits, sampling const& how, std::int32_t token) {
  check(how);
  law const from = law_of(logits, how, likeliest(logits, 0, 0));
  for (std::size_t i = 0; i < from.weight.size(); ++i)
    if (from.candidates[i] == token) return std::log(from.weight[i] / from.total);
  return -std::numeric_limits<double>::infinity();
}

namespace {

void check_prompt(batch const& prompt, ragged<std::int32_t> const& read) {
  std::size_t const items = prompt.items();
  if (items == 0) throw usage_error("there is no prompt to continue");
  if (read.size() != items)
    throw usage_error("an encoder-decoder continues decoder tokens, and the prompt has none; give at least the start token");
  for (std::size_t i = 0; i < items; ++i)
    if (read[i].empty()) throw usage_error("prompt " + std::to_string(i) + " has no token to continue; give it at least one");
}

}  // namespace

ragged<std::int32_t> generate(model const& of, batch const& prompt, sampling const& how, run_request const& request,
                              std::function<bool(generation_step const&)> const& observe) {
  check(how);
  refuse_forced_tokens(of);
  model_info const& info = of.info();
  bool const two_stacks = info.family == model_family::encoder_decoder;
  check_prompt(prompt, two_stacks ? prompt.decoder_tokens : prompt.tokens);
  std::size_t const items = prompt.items();

  std::vector<std::vector<std::int32_t>> drawn(items);
  auto const result = [&] {
    ragged<std::int32_t> out;
    for (auto const& tokens : drawn) out.push_back(tokens);
    return out;
  };
  if (how.max_new_tokens == 0) return result();

  run_request wanted = request;
  if (!wanted.capture.has("logits")) {
    wanted.last_logits_only = true;
    wanted.capture.add(hook_set({"logits"}));
  }
  activations captured;
  std::unique_ptr<continued_run> run = of.begin(prompt, wanted, &captured);
  std::vector<std::size_t> going(items);  // numbers within the prompt of the run's items
  std::iota(going.begin(), going.end(), std::size_t{0});

  for (std::size_t step = 0;; ++step) {
    tensor const logits = last_rows(captured, going.size(), info.vocabulary);
    std::vector<std::int32_t> tokens(going.size());
    parallel_for(going.size(), [&](std::size_t i) {
      tokens[i] = draw_token(logits.view<float const>().row(i), how, how.first_item + going[i], step);
    });
    for (std::size_t i = 0; i < going.size(); ++i) drawn[going[i]].push_back(tokens[i]);
    if (observe && !observe({step, going, tokens, logits, captured})) return result();
    if (step + 1 >= how.max_new_tokens) return result();

    // The items that continue, by index into the run, which keeps only these.
    std::vector<std::size_t> kept;
    for (std::size_t i = 0; i < going.size(); ++i) {
      std::size_t const first = two_stacks || prompt.first_position.empty() ? 0 : prompt.first_position.at(going[i]);
      bool const stopped = std::find(how.stop.begin(), how.stop.end(), tokens[i]) != how.stop.end();
      bool const full = info.longest != 0 && first + run->length(i) >= info.longest;
      if (!stopped && !full) kept.push_back(i);
    }
    if (kept.empty()) return result();
    if (kept.size() < going.size()) {
      run = run->branch(kept);
      for (std::size_t k = 0; k < kept.size(); ++k) going[k] = going[kept[k]], tokens[k] = tokens[kept[k]];
      going.resize(kept.size()), tokens.resize(kept.size());
    }
    batch more;
    (two_stacks ? more.decoder_tokens : more.tokens) = lists_of(tokens);
    if (two_stacks) more.tokens = empty_lists(tokens.size());
    captured = run->extend(more, wanted);
  }
}

}  // namespace wayfarer
