// Includes every header that lists types, so it is on the highest floor: the host knows those lists that are in this library.
// A test finds a header that is missing.
#include <wayfarer/accumulator.hpp>
#include <wayfarer/array_file.hpp>
#include <wayfarer/backward.hpp>
#include <wayfarer/config.hpp>
#include <wayfarer/differentiable.hpp>
#include <wayfarer/digest.hpp>
#include <wayfarer/error.hpp>
#include <wayfarer/factored.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/generate.hpp>
#include <wayfarer/hf_config.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/instruction_set.hpp>
#include <wayfarer/json.hpp>
#include <wayfarer/layers.hpp>
#include <wayfarer/metric.hpp>
#include <wayfarer/mixing.hpp>
#include <wayfarer/model.hpp>
#include <wayfarer/ops.hpp>
#include <wayfarer/optimizer.hpp>
#include <wayfarer/parameter_error.hpp>
#include <wayfarer/plugin.hpp>
#include <wayfarer/pretrained.hpp>
#include <wayfarer/probe.hpp>
#include <wayfarer/progress.hpp>
#include <wayfarer/ragged.hpp>
#include <wayfarer/results.hpp>
#include <wayfarer/rotary.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/run_files.hpp>
#include <wayfarer/safetensors.hpp>
#include <wayfarer/scan.hpp>
#include <wayfarer/snapshot_state.hpp>
#include <wayfarer/source.hpp>
#include <wayfarer/statistics.hpp>
#include <wayfarer/stopping.hpp>
#include <wayfarer/tape.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/text_table.hpp>
#include <wayfarer/tokenizer.hpp>
#include <wayfarer/vocabulary.hpp>
#include <wayfarer/weights.hpp>
#include <wayfarer/whole_texts.hpp>

namespace wayfarer {

std::span<type_layout const* const> sdk_layouts() noexcept {
  return {layouts::first_layout, layouts::last_layout};
}

}  // namespace wayfarer
