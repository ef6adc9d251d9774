"""The parts, the plan and the tables of run_ablation.py."""
