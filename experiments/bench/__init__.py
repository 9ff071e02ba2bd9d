"""What mixkd costs, against a bare loop, the usual pipeline, and naive use: `make bench`.

One file a comparison; each returns its figures. They are ratios of times taken in turn within one
run, so that they hold on other machines and at other hours. All of it computes on the CPU.
"""
