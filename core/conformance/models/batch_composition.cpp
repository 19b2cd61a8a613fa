// The rules batch_composition, repeatable and many_threads: an item's numbers depend on the item alone.
#include "conformance/models/model_case.hpp"

namespace wayfarer::host::conformance {

void check_batch_composition(model_case const& c, reporter& out) {
  batch const& b = c.tokens();
  activations const all = c.m().run(b, asking(c.every));
  comparison same("batch_composition", "in another batch", out);
  for (auto const& which : {std::vector<std::size_t>{0}, {3}, {3, 1, 0, 2}, {2, 2, 1}}) {
    activations const other = c.m().run(items_of(b, which), asking(c.every));
    for (std::size_t k = 0; k < which.size(); ++k)
      for (auto const& name : c.every.names()) same("'" + name + "' of an item", all.at(name, which[k]), other.at(name, k));
  }
}

void check_runs_repeat(model_case const& c, reporter& out) {
  std::string const first = digest_of_run(c.m(), c.tokens(), c.every);
  if (digest_of_run(c.m(), c.tokens(), c.every) != first)
    throw violation("repeatable", "the same batch run twice gives other numbers");
  auto const other = c.bench->make<model>();
  other->load();
  if (digest_of_run(*other, c.tokens(), c.every) != first)
    throw violation("independent_instances", "a second instance with the same parameters gives other numbers");
  out.digest("run", first);
  out.digest("tokens", digest_of(c.tokens()));
}

void check_runs_on_threads(model_case const& c, reporter&) {
  std::string const alone = digest_of_run(c.m(), c.tokens(), c.every);
  for (int round = 0; round < 30; ++round)
    on_threads(4, [&](std::size_t) {
      if (digest_of_run(c.m(), c.tokens(), c.every) != alone)
        throw violation("many_threads", "numbers differ while other threads run the model");
    });
}

void check_training_repeats(model_case const& c, reporter& out) {
  auto const& learner = dynamic_cast<trainable_model const&>(c.m());
  std::string const first = digest_of_training(learner, c.seed());
  if (digest_of_training(learner, c.seed()) != first) throw violation("repeatable", "training twice gives other numbers");
  out.digest("training", first);
}

}  // namespace wayfarer::host::conformance
