#include "two_stacks.hpp"

#include <algorithm>
#include <utility>

#include <wayfarer/error.hpp>

namespace wayfarer {
namespace {

bool is_decoders(std::string_view hook) {
  return hook.starts_with("decoder") || hook == "logits";
}

/// Whether a pass needs a stored tensor.
bool is_needed(std::string_view stored, bool encodes, bool decodes) {
  if (stored.starts_with("encoder.")) return encodes;
  if (stored.starts_with("decoder.") || stored.starts_with("lm_head.")) return decodes;
  return true;
}

struct two_stack_run final : continued_run {
  two_stack_run(two_stack_model const& m, dtype arithmetic, std::size_t items) : model(m), precision(arithmetic), read(items) {
    std::size_t const width = m.info().heads * m.info().d_head;
    memory.self.assign(m.info().decoder_layers, key_values(items, width, precision));
    memory.cross = memory.self;
  }

  std::size_t items() const noexcept override { return read.size(); }
  std::size_t length(std::size_t item) const noexcept override { return read[item]; }
  std::string const& name() const { return model.info().architecture; }

  activations extend(batch const& more, run_request const& request) override {
    if (request.precision != precision)
      throw usage_error(name() + ": a continued run must keep the precision that it began with");
    taps at(model.info(), request);
    // No new encoder positions: their keys and values are there.
    ragged<std::int32_t> none;
    none.offsets.assign(items() + 1, 0);
    read_on(more.decoder_tokens, rows(row_packing::of(none), model.info().d_model, precision), request, at);
    return at.take();
  }

  std::unique_ptr<continued_run> branch(std::span<std::size_t const> picked) const override {
    auto other = std::make_unique<two_stack_run>(model, precision, picked.size());
    for (std::size_t i = 0; i < picked.size(); ++i) {
      if (picked[i] >= items())
        throw usage_error(name() + ": a run of " + std::to_string(items()) + " items has no item " + std::to_string(picked[i]));
      other->read[i] = read[picked[i]];
    }
    for (std::size_t i = 0; i < memory.self.size(); ++i)
      other->memory.self[i] = memory.self[i].branch(picked), other->memory.cross[i] = memory.cross[i].branch(picked);
    return other;
  }

  void read_on(ragged<std::int32_t> const& tokens, rows const& states, run_request const& request, taps& at) {
    if (tokens.size() != items())
      throw usage_error(name() + ": a run of " + std::to_string(items()) + " items was given decoder tokens for " +
                        std::to_string(tokens.size()));
    model.decoder(model.embed(tokens, row_packing::of(tokens, read), precision), states, request, at, &memory);
    for (std::size_t i = 0; i < read.size(); ++i) read[i] += tokens[i].size();
  }

  two_stack_model const& model;
  dtype precision;
  std::vector<std::size_t> read;
  decoder_memory memory;
};

}  // namespace

std::vector<std::size_t> lengths(row_packing const& of) {
  std::vector<std::size_t> all(of.items());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = of.length(i);
  return all;
}

rows two_stack_model::encoder_states(batch const& batch, run_request const& request, taps& at, bool whole) const {
  auto const of = row_packing::of(batch.tokens, batch.first_position);
  auto const given = [&](tensor const& x, std::string_view what) {
    return rows_from(x, of, info().d_model, request.precision, what);
  };
  if (batch.encoder_states.defined()) return given(batch.encoder_states, "encoder states");
  auto x = batch.embeddings.defined() ? given(batch.embeddings, "embeddings") : embed(batch.tokens, of, request.precision);
  return encoder(std::move(x), at, whole);
}

activations two_stack_model::run(batch const& batch, run_request const& request) const {
  auto const& wanted = request.capture.names();
  bool const decodes = std::any_of(wanted.begin(), wanted.end(), is_decoders);
  check(batch, request, decodes);
  taps at(info(), request);
  rows const memory = encoder_states(batch, request, at, decodes);
  if (decodes)
    decoder(embed(batch.decoder_tokens, row_packing::of(batch.decoder_tokens), request.precision), memory, request, at, nullptr);
  return at.take();
}

std::unique_ptr<continued_run> two_stack_model::begin(batch const& batch, run_request const& request,
                                                      activations* captured) const {
  check(batch, request, true);
  taps at(info(), request);
  auto run = std::make_unique<two_stack_run>(*this, request.precision, batch.items());
  run->read_on(batch.decoder_tokens, encoder_states(batch, request, at, true), request, at);
  auto all = at.take();
  if (captured) *captured = std::move(all);
  return run;
}

/// Throws usage_error if the batch lacks what the request needs or is longer than what the model reads, and data_error if the
/// checkpoint lacks it.
void two_stack_model::check(batch const& batch, run_request const& request, bool decodes) const {
  check_precision(request.precision);
  std::string const& name = info().architecture;
  bool const encodes = !batch.encoder_states.defined();
  auto const in_reach = [&](std::string const& hook) {
    if (is_decoders(hook) && batch.decoder_tokens.empty() && batch.items() != 0)
      throw usage_error(name + ": '" + hook + "' is in the decoder, which does not run without decoder tokens");
    if (!is_decoders(hook) && !encodes)
      throw usage_error(name + ": '" + hook + "' is in the encoder, which does not run when its states are given");
  };
  for (auto const& hook : request.capture.names()) in_reach(hook);
  for (auto const& edit : request.edits)
    if (info().find_hook(edit.hook)) in_reach(edit.hook);
  if (decodes && batch.decoder_tokens.size() != batch.items())
    throw usage_error(name + ": a batch has " + std::to_string(batch.items()) + " lists of tokens and " +
                      std::to_string(batch.decoder_tokens.size()) + " of decoder tokens");
  auto const check_length = [&](std::size_t item, std::size_t length, char const* what) {
    if (info().longest && length > info().longest)
      throw usage_error(name + ": item " + std::to_string(item) + " has " + std::to_string(length) + what +
                        ", this model reads " + std::to_string(info().longest) + "; give max_tokens");
  };
  for (std::size_t i = 0; encodes && i < batch.items(); ++i)
    check_length(i, batch.tokens[i].size() + (batch.first_position.empty() ? 0 : batch.first_position.at(i)), " tokens");
  for (std::size_t i = 0; decodes && i < batch.items(); ++i) check_length(i, batch.decoder_tokens[i].size(), " decoder tokens");
  table().require([&](std::string_view stored) { return is_needed(stored, encodes, decodes); });
}

tensor two_stack_model::unembed(tensor const& x) const {
  return on_rows(x, info().d_model, "token", [&](rows const& r) { return unembed_tokens(r, 0, info().vocabulary); });
}

void two_stack_model::require_head() const {
  bool const own = table().found("lm_head.weight");
  table().require([&](std::string_view name) { return name == (own ? "lm_head.weight" : "shared.weight"); });
}

void two_stack_model::look(hook_set const& needed) {
  table_to_look().look(path_);
  auto const& hooks = needed.names();
  if (hooks.empty()) return;
  bool const decodes = std::any_of(hooks.begin(), hooks.end(), is_decoders);
  table().require_found([&](std::string_view stored) { return is_needed(stored, true, decodes); });
}

std::vector<std::string> two_stack_model::remarks() const {
  auto all = config_.remarks();
  auto const more = [&](std::vector<std::string> const& some) { all.insert(all.end(), some.begin(), some.end()); };
  more(generation().remarks);
  if (auto const& said = generation(); said.start.empty())
    all.push_back(path_ + ": the files name no decoder_start_token_id; the decoder begins with " +
                  (said.bos   ? "bos_token_id"
                   : said.pad ? "pad_token_id"
                              : "its tokenizer's padding token, else 0") +
                  (said.bos   ? ", " + std::to_string(*said.bos)
                   : said.pad ? ", " + std::to_string(*said.pad)
                              : ""));
  if (table().looked()) more(table().remarks());
  return all;
}

std::vector<std::int32_t> const& two_stack_model::start_tokens() const {
  std::call_once(start_once_, [&] { start_ = generation_tokens_of(*this).start; });
  return start_;
}

// The decoder's tokens are the source's, or its start token alone.
batch two_stack_model::encode(item_block const& items, encode_options const& options) const {
  refuse_token_types(items, info());
  batch out = encode_items(items, options, info(), items.texts.empty() ? nullptr : tokenizer_.get());
  std::size_t most = options.max_tokens ? options.max_tokens : SIZE_MAX;
  if (info().longest) most = std::min(most, info().longest);
  for (std::size_t i = 0; i < items.count; ++i) {
    auto const given = items.decoder_tokens.empty() ? std::span(start_tokens()) : items.decoder_tokens[i];
    out.decoder_tokens.push_back(given.first(std::min(most, given.size())));
  }
  return out;
}

}  // namespace wayfarer
