# libFuzzer targets, which need clang and its runtime. The slow tests run each for half a minute, `./dev fuzz` for as long as you like. What they
# test is compiled a second time, instrumented, from the same sources.
find_program(WAYFARER_CLANG NAMES clang++-14 clang++)
set(fuzz_runtime FALSE)
if(WAYFARER_CLANG)
  execute_process(COMMAND ${WAYFARER_CLANG} --print-resource-dir OUTPUT_VARIABLE fuzz_resources
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  file(GLOB fuzz_found ${fuzz_resources}/lib/*/libclang_rt.fuzzer-x86_64.a)
  if(fuzz_found)
    set(fuzz_runtime TRUE)
  endif()
endif()
option(WAYFARER_BUILD_FUZZERS "Build the libFuzzer targets with clang" ${fuzz_runtime})
if(NOT WAYFARER_BUILD_FUZZERS OR WAYFARER_SANITIZE OR WAYFARER_COVERAGE)
  if(NOT WAYFARER_SANITIZE AND NOT WAYFARER_COVERAGE)
    message(STATUS "Fuzz targets are left out: no clang with libFuzzer's runtime")
  endif()
  return()
endif()

set(fuzz_flags -std=c++20 -O1 -g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -fsanitize=fuzzer,address,undefined
  -fno-sanitize-recover=all -I${PROJECT_SOURCE_DIR}/sdk/include -I${PROJECT_SOURCE_DIR}/core)
# Where ccache is not installed the variable holds "...-NOTFOUND", which is no command.
set(fuzz_launcher "")
if(WAYFARER_CCACHE)
  set(fuzz_launcher ${WAYFARER_CCACHE})
endif()
set(fuzz_objects "")
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/sdk/src/checkpoint/tokenizer/*.cpp)
foreach(name sdk/src/base/error sdk/src/checkpoint/hf_config sdk/src/files/digest sdk/src/files/file sdk/src/files/file_tables sdk/src/files/json
    sdk/src/files/run_files sdk/src/files/safetensors sdk/src/files/utf8 sdk/src/interfaces/accumulator sdk/src/interfaces/hooks sdk/src/numeric/tensor
    core/engine/blocks core/engine/small_files core/engine/work_folder core/pipeline/yaml core/text/printable)
  list(APPEND fuzz_sources ${PROJECT_SOURCE_DIR}/${name}.cpp)
endforeach()
foreach(source ${fuzz_sources} ${CMAKE_CURRENT_LIST_DIR}/interfaces.cpp)
  cmake_path(GET source STEM name)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/fuzz/${name}.o)
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/fuzz
    COMMAND ${fuzz_launcher} ${WAYFARER_CLANG} ${fuzz_flags} -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} DEPFILE ${object}.d VERBATIM)
  list(APPEND fuzz_objects ${object})
endforeach()
# All of it, so that ninja builds the objects once for all programs.
add_custom_target(fuzz_objects DEPENDS ${fuzz_objects})
add_custom_target(fuzz)
foreach(target safetensors tokenizer config yaml blocks)
  set(source ${CMAKE_CURRENT_LIST_DIR}/${target}_fuzz.cpp)
  set(program ${PROJECT_BINARY_DIR}/fuzz/${target})
  add_custom_command(OUTPUT ${program}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/fuzz
    COMMAND ${WAYFARER_CLANG} ${fuzz_flags} -MD -MF ${program}.d -MT ${program} ${source} ${fuzz_objects}
      -o ${program} ${icu_LINK_LIBRARIES} ${pcre2_LINK_LIBRARIES} ${yaml_cpp_LINK_LIBRARIES} -lcrypto
    DEPENDS ${source} ${fuzz_objects} DEPFILE ${program}.d VERBATIM)
  add_custom_target(fuzz_${target} ALL DEPENDS ${program})
  add_dependencies(fuzz fuzz_${target})
  # New inputs go to a folder of the build tree; the seeds are only read.
  set(corpus ${CMAKE_CURRENT_BINARY_DIR}/fuzz/${target}_corpus)
  file(MAKE_DIRECTORY ${corpus})
  add_test(NAME fuzz.${target} COMMAND ${program} -max_total_time=30 -seed=1 -max_len=16384 -rss_limit_mb=1024 -timeout=10
    -malloc_limit_mb=256 -print_final_stats=1 -dict=${CMAKE_CURRENT_LIST_DIR}/fuzz.dict
    -artifact_prefix=${CMAKE_CURRENT_BINARY_DIR}/fuzz/
    ${corpus} ${CMAKE_CURRENT_LIST_DIR}/seeds/${target})
  set_tests_properties(fuzz.${target} PROPERTIES LABELS slow TIMEOUT 300)
endforeach()
