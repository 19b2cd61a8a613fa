# Workers under a real Slurm; skipped where slurm-wlm and munge are not installed ('./dev cluster' installs them).
add_test(NAME cluster.slurm COMMAND /usr/bin/python3 ${CMAKE_CURRENT_LIST_DIR}/slurm_test.py $<TARGET_FILE:wayfarer> ${PROJECT_SOURCE_DIR}/runs/data)
set_tests_properties(cluster.slurm PROPERTIES LABELS slow TIMEOUT 900 SKIP_RETURN_CODE 77)
