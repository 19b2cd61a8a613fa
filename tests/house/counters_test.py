"""counters_test.py SOURCE_DIR: no counter of a benchmark has the name of a field that Google Benchmark writes itself.

Such a field comes twice in an object of --benchmark_format=json, which strict readers of JSON refuse, as `bench --against` does.
"""
import glob
import os
import re
import sys

# Of a run, as version 1.7 and later write them.
FIELDS = set("""name family_index per_family_instance_index run_name run_type repetitions repetition_index threads aggregate_name
aggregate_unit error_occurred error_message skipped skip_message iterations real_time cpu_time time_unit cpu_coefficient
real_coefficient big_o rms items_per_second bytes_per_second allocs_per_iter max_bytes_used total_allocated_bytes
net_heap_growth label""".split())
COUNTER = re.compile(r'\bcounters\[\s*"([^"]*)"')


def counters(text):
    for number, line in enumerate(text.splitlines(), 1):
        for name in COUNTER.findall(line):
            yield number, name


def main(root):
    wrong, seen = [], 0
    if [name for _, name in counters('x;\n  state.counters["iterations"] = 1;') if name in FIELDS] != ["iterations"]:
        wrong.append("this test does not find the counter of its own example")
    for pattern in ("benchmarks/*.[ch]pp", "core/bench/*.[ch]pp"):
        for name in sorted(glob.glob(pattern, root_dir=root)):
            with open(os.path.join(root, name), encoding="utf-8") as file:
                for number, counter in counters(file.read()):
                    seen += 1
                    if counter in FIELDS:
                        wrong.append(f"{name}:{number}: Google Benchmark writes \"{counter}\" itself; give the counter another name")
    print("\n".join([*wrong, f"{seen} counters, {len(wrong)} with the name of a field"]))
    return 1 if wrong or seen < 20 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
