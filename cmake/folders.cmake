# What a folder of src/ becomes.
#
#   hf_folder(<name> [SANS_IO] [BELOW <folder>...] [LIBRARIES <target>...] [WITHOUT <source>...])
#
#   hf_<name>      static library of the folder's *.cc
#   <name>_test    one gtest program of all its *_test.cc, known to ctest
#   <file>_fuzz    under clang's address sanitizer: one libFuzzer program for each *_fuzz.cc
#
# SANS_IO marks floors 0 to 4: no exceptions, no run-time type information. (Their tests have both, as gtest wants
# them. An interface that a test or io/ derives from therefore declares nothing but pure virtual functions and an
# inline destructor, so that its type information needs no source file.)
# BELOW names folders on lower floors, whose libraries this one uses; LIBRARIES are private: a folder that wraps a
# foreign library does not pass it on. A folder without sources yet is an empty library.
# main.cc and *_main.cc are programs and belong to no library, nor do the sources WITHOUT which it is.

add_custom_target(unit_tests)
add_custom_target(fuzzers)

# Reads the headers that all targets of a kind want once for all of them; they must have the same options. That a file includes
# what it uses shows where clang-tidy reads it (tests it does not read): scripts/lint.py has a tree without precompiled headers.
function(hf_precompile target kind)
  get_property(first GLOBAL PROPERTY hf_first_${kind})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
    set_property(GLOBAL PROPERTY hf_first_${kind} ${target})
  endif()
endfunction()

set(HF_COMMON_HEADERS <algorithm> <chrono> <deque> <expected> <functional> <map> <memory> <optional> <set> <span> <string>
                      <string_view> <unordered_map> <utility> <variant> <vector>)

# What is tested is compiled as it is shipped; the tests themselves run for a moment and need not be fast, so they are spared
# the optimizer, and no fuzz program wants to know which way they went. (Of an inline function that both call and neither has
# inlined, the linker takes the test's copy.)
function(hf_compile_quickly test)
  target_compile_options(${test} PRIVATE $<IF:$<CONFIG:Debug>,-O0,-O1>)
  if(HF_FUZZ)
    target_compile_options(${test} PRIVATE -fno-sanitize=fuzzer-no-link)
  endif()
  hf_precompile(${test} test <gtest/gtest.h> ${HF_COMMON_HEADERS})
endfunction()

function(hf_folder name)
  cmake_parse_arguments(arg "SANS_IO" "" "BELOW;LIBRARIES;WITHOUT" ${ARGN})
  file(GLOB all CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(sources ${all})
  set(tests ${all})
  set(fuzzers ${all})
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|[/_]main)\\.cc$")
  list(REMOVE_ITEM sources ${arg_WITHOUT})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(TRANSFORM arg_BELOW PREPEND "hf_")

  if(sources)
    add_library(hf_${name} STATIC ${sources})
    target_include_directories(hf_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(hf_${name} PUBLIC ${arg_BELOW} PRIVATE ${arg_LIBRARIES})
    if(arg_SANS_IO)
      target_compile_options(hf_${name} PRIVATE -fno-exceptions -fno-rtti)
      hf_precompile(hf_${name} floor ${HF_COMMON_HEADERS})
    endif()
  else()
    add_library(hf_${name} INTERFACE)
    target_include_directories(hf_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(hf_${name} INTERFACE ${arg_BELOW})
  endif()

  # The simulator's plain tree tests the simulator; the floors' own tests have run in the product's.
  if(tests AND (NOT HF_BUGS OR HF_SANITIZE OR name STREQUAL "sim"))
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE hf_${name} GTest::gtest GTest::gtest_main)
    hf_compile_quickly(${name}_test)
    add_dependencies(unit_tests ${name}_test)
    # One ctest entry for a program, not for each case: starting a process a thousand times costs more than the cases.
    add_test(NAME ${name} COMMAND ${name}_test --gtest_brief=1 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT 120)
  endif()

  if(HF_FUZZ)
    foreach(source ${fuzzers})
      cmake_path(GET source STEM program)
      add_executable(${program} ${source})
      target_link_libraries(${program} PRIVATE hf_${name})
      target_link_options(${program} PRIVATE -fsanitize=fuzzer)
      add_dependencies(fuzzers ${program})
    endforeach()
  endif()
endfunction()

# Programs of story/ and bench/: each *.cc becomes one.
#
#   hf_programs(<group target> <library target>...)
function(hf_programs group)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(source ${sources})
    cmake_path(GET source STEM program)
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE ${ARGN})
    add_dependencies(${group} ${program})
  endforeach()
endfunction()
