# Every target first sets up .venv. Python 3.11 is the only thing that must be installed beforehand.

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin

.PHONY: test lint torture .venv

# The files of tests are divided among so many processes.
TEST_JOBS ?= 2

test: .venv/tested-with lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_JOBS) --dist loadfile

lint: .venv/tested-with
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

# Every stage is killed KILLS times at random instants; the result must be that of a run that nothing disturbed. About a
# second of CPU a kill, 12 minutes in all. STAGES names some of them, SEED draws other instants.
KILLS ?= 100
SEED ?= 0

torture: .venv/tested-with
	$(BIN)/python tests/torture.py --kills $(KILLS) --seed $(SEED) $(if $(STAGES),--stages $(STAGES))

.venv: .venv/installed

# The stamp files record what was installed: pip runs again only when the requirements change. The project uses the
# letters of spoken-to-signed and not its code, so --no-deps leaves out the packages that its code needs.
.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps spoken-to-signed==0.4.0
	touch $@

.venv/tested-with: .venv/installed requirements-dev.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-warn-conflicts --requirement requirements-dev.txt
	touch $@

# For extract_features.py alone, which needs MediaPipe: a Python of its own.
.PHONY: .venv-video test-video
.venv-video: .venv-video/installed

.venv-video/installed: requirements-video.txt
	$(PYTHON) -m venv .venv-video
	.venv-video/bin/pip install --disable-pip-version-check --quiet --requirement requirements-video.txt
	.venv-video/bin/pip install --disable-pip-version-check --quiet --no-deps mediapipe==0.10.21
	touch $@

test-video: .venv-video/installed
	.venv-video/bin/pip install --disable-pip-version-check --quiet --no-warn-conflicts pytest==9.2.0 \
		pytest-timeout==2.4.0
	.venv-video/bin/python -m pytest tests/test_extract_real_videos.py

# On a machine with a CUDA GPU: training and signing against a CPU, in every precision, and mamba-ssm's kernels.
.PHONY: test-cuda
test-cuda: .venv/tested-with
	$(BIN)/python -m pytest tests/test_cuda.py

# For demo_app.py alone, which needs gradio: a Python of its own that finds torch and the rest in .venv.
.PHONY: .venv-app
.venv-app: .venv-app/installed

SITE_PACKAGES := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
.venv-app/installed: requirements-app.txt .venv/installed
	$(PYTHON) -m venv .venv-app
	$(BIN)/python $(SITE_PACKAGES) > "$$(.venv-app/bin/python $(SITE_PACKAGES))/of_the_project.pth"
	.venv-app/bin/pip install --disable-pip-version-check --quiet --requirement requirements-app.txt
	touch $@

# The pages of visualize.py and demo_app.py in a real browser: selenium, and Debian's chromium.
.PHONY: test-browser
.venv-browser/installed: requirements-browser.txt
	$(PYTHON) -m venv .venv-browser
	.venv-browser/bin/pip install --disable-pip-version-check --quiet --requirement requirements-browser.txt
	touch $@

test-browser: .venv-browser/installed .venv-app/installed
	command -v chromium chromedriver >/dev/null || apt-get install --yes --quiet chromium chromium-driver || \
		echo "no chromium and no chromedriver: install them, or the test is skipped"
	.venv-browser/bin/python -m pytest tests/test_page_browser.py
	.venv-app/bin/pip install --disable-pip-version-check --quiet --no-warn-conflicts pytest==9.2.0 \
		pytest-timeout==2.4.0 selenium==4.51.0
	.venv-app/bin/python -m pytest tests/test_app_browser.py


# ---- make demo TEXT=hello ALPHABET=ase -------------------------------------------------------------------------------
# The demo joins real letters of one manual alphabet (ase: American) into words and trains every stage on them at a
# small size. Both directions then sign a word that training never saw. All files land in demo/.

TEXT ?= hello
ALPHABET ?= ase
export TEXT ALPHABET

DEMO_PYTHON := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python
DEMO_TRAIN := --data_dir demo/data --num_workers 0 --warmup_steps 100
DEMO_AUTOENCODER := --autoencoder_checkpoint demo/autoencoder/best_model.pt
DEMO_NET := $(DEMO_AUTOENCODER) --latent_dim 24 --hidden_dim 128 --num_heads 4 --num_layers 4 \
	--batch_size 16 --learning_rate 2e-3 --text_encoder scratch --scratch_dim 64 --scratch_layers 1
DEMO_TEST := --data_dir demo/data --split test $(DEMO_AUTOENCODER) --save_predictions --num_workers 2
# The word's real clip and its text in the data set, for example real=test/poses/ID.npz spelled="h e l l o".
DEMO_WORD := IFS='|' read -r real spelled < demo/data/held_out.txt

define say
	@printf '\n==== %s\n     %s\n' "$(1)" "$(2)"
endef

.PHONY: demo
demo: .venv/installed
	@mkdir -p demo && date +%s > demo/.started
	$(call say,1/11  Data,real letters of the alphabet $$ALPHABET joined into words; '$$TEXT' is kept out of training)
	$(DEMO_PYTHON) demo_data.py --output_dir demo/data --alphabet "$$ALPHABET" --hold_out "$$TEXT"
	@rm -rf demo/data/cache demo/autoencoder demo/predictor demo/flow demo/student demo/evaluation_*
	$(call say,2/11  Statistics,checks the data and measures mean and spread of the train poses)
	$(DEMO_PYTHON) data_preparation.py --data_dir demo/data
	$(call say,3/11  Stage 1: autoencoder,poses to few numbers (24 for 4 frames) and back)
	$(DEMO_PYTHON) train_stage1_autoencoder.py $(DEMO_TRAIN) --output_dir demo/autoencoder --batch_size 16 --num_epochs 30 \
		--learning_rate 2e-3 --max_seq_len 64 --latent_dim 24 --temporal_stride 4 --hidden_dim 128 --num_heads 4 \
		--encoder_layers 2 --coarse_layers 1 --medium_layers 1 --fine_layers 2 --dropout 0 --ema_decay 0.99 \
		--latent_noise 0.25
	$(call say,4/11  Stage 2 Direction 1: predictor,text to latents in one pass)
	$(DEMO_PYTHON) train_stage2_predictor.py $(DEMO_TRAIN) $(DEMO_NET) --output_dir demo/predictor --num_epochs 45 \
		--ema_decay 0.99
	$(call say,5/11  Stage 2 Direction 2: latent flow,text and noise to latents along a field with prior and sync guidance)
	$(DEMO_PYTHON) train_stage2_latent_flow.py $(DEMO_TRAIN) $(DEMO_NET) --output_dir demo/flow --num_epochs 60 \
		--use_ssm_prior --use_sync_guidance --prior_hidden_dim 64 --prior_layers 2 --ema_decay 0.995
	$(call say,6/11  Stage 3: distillation,one student takes in 1 2 or 4 steps what the flow takes in 50)
	$(DEMO_PYTHON) train_stage3_distillation.py $(DEMO_TRAIN) $(DEMO_AUTOENCODER) --output_dir demo/student \
		--teacher_checkpoint demo/flow/best_model.pt --num_teacher_steps 50 --trajectories_per_clip 2 --batch_size 64 \
		--num_epochs 30 --learning_rate 1e-3 --ema_decay 0.99
	$(call say,7/11  Evaluation of the predictor,every test word beside floors and ceilings)
	$(DEMO_PYTHON) evaluate.py $(DEMO_TEST) --predictor_checkpoint demo/predictor/best_model.pt \
		--output_dir demo/evaluation_predictor
	$(call say,8/11  Evaluation of the flow,the same with 50 steps)
	$(DEMO_PYTHON) evaluate.py $(DEMO_TEST) --flow_checkpoint demo/flow/best_model.pt --num_steps 50 \
		--output_dir demo/evaluation_flow
	$(call say,9/11  Evaluation of the student,the same with 4 steps)
	$(DEMO_PYTHON) evaluate.py $(DEMO_TEST) --flow_checkpoint demo/student/best_model.pt --num_steps 4 \
		--output_dir demo/evaluation_student
	$(call say,10/11  Signing '$$TEXT',by the predictor and by the student in 4 steps and by the flow in 50)
	$(DEMO_WORD); $(DEMO_PYTHON) inference.py --text "$$spelled" --data_dir demo/data $(DEMO_AUTOENCODER) \
		--predictor_checkpoint demo/predictor/best_model.pt --output_path demo/predictor.npy
	$(DEMO_WORD); $(DEMO_PYTHON) inference_latent_flow.py --text "$$spelled" --data_dir demo/data $(DEMO_AUTOENCODER) \
		--flow_checkpoint demo/student/best_model.pt --num_steps 4 --use_ssm_prior --use_sync_guidance \
		--output_path demo/student.npy
	$(DEMO_WORD); $(DEMO_PYTHON) inference_latent_flow.py --text "$$spelled" --data_dir demo/data $(DEMO_AUTOENCODER) \
		--flow_checkpoint demo/flow/best_model.pt --num_steps 50 --use_ssm_prior --use_sync_guidance \
		--output_path demo/flow.npy
	$(call say,11/11  Pictures,the three clips beside the real letters)
	$(DEMO_WORD); $(DEMO_PYTHON) visualize.py --captions demo/data/spelling.json --output demo/demo.mp4 \
		--sheet demo/demo.png --clips "real letters=demo/data/$$real" "Direction 1: predictor=demo/predictor.npy" \
		"Direction 2: student, 4 steps=demo/student.npy" "Direction 2: flow, 50 steps=demo/flow.npy"
	$(DEMO_PYTHON) visualize.py --evaluation demo/evaluation_flow demo/evaluation_student demo/evaluation_predictor \
		--data_dir demo/data --captions demo/data/spelling.json --output demo/demo.html
	$(call say,Done in $$(( $$(date +%s) - $$(cat demo/.started) )) seconds,look at demo/demo.mp4 and demo/demo.png and demo/demo.html; all that was made:)
	@rm demo/.started; cd demo; for folder in data evaluation_*/predictions_test; do \
		echo "demo/$$folder/ ($$(find $$folder -type f | wc -l) files)"; done; \
		find . -type f -not -path './data/*' -not -path '*/predictions_test/*' | LC_ALL=C sort | sed s,^.,demo,


# ---- make app PORT=7860 ----------------------------------------------------------------------------------------------
# A page in the browser that signs what is typed, with the models of `make demo`.

PORT ?= 7860

.PHONY: app demo-models
app: demo-models .venv-app/installed
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} .venv-app/bin/python demo_app.py --data_dir demo/data $(DEMO_AUTOENCODER) \
		--predictor_checkpoint demo/predictor/best_model.pt --port $(PORT) \
		--flow_checkpoint demo/student/best_model.pt demo/flow/best_model.pt

demo-models:
	@for model in autoencoder predictor flow student; do [ -f demo/$$model/best_model.pt ] || \
		{ echo "demo/$$model/best_model.pt is missing; 'make demo' trains the demo's models first" >&2; exit 2; }; done


# ---- make ablation DATA_DIR=data/mine JOBS=2 -------------------------------------------------------------------------
# The ablation measures what each part of Direction 2 is worth, over three seeds, on the demo's data or on DATA_DIR. It
# takes hours on a CPU. A second call goes on where the first one stopped. ABLATION_FLAGS adds flags of run_ablation.py.

DATA_DIR ?= demo/data
ABLATION_DIR ?= runs/ablation
JOBS ?= 2

.PHONY: ablation
ablation: .venv/installed
	@[ -d "$(DATA_DIR)" ] || [ "$(DATA_DIR)" != demo/data ] || $(BIN)/python demo_data.py --output_dir demo/data
	@[ -f "$(DATA_DIR)/normalization_stats.npz" ] || $(BIN)/python data_preparation.py --data_dir "$(DATA_DIR)"
	$(BIN)/python run_ablation.py --data_dir "$(DATA_DIR)" --output_dir "$(ABLATION_DIR)" --jobs $(JOBS) $(ABLATION_FLAGS)


# ---- make bench ------------------------------------------------------------------------------------------------------
# The benchmarks run one after the other, about 45 minutes on 2 quiet cores. Each prints JSON and also runs alone; the
# report keeps it in runs/bench/ and makes one page of all. BENCH_FLAGS=--quick: some minutes, whether everything runs.

BENCHMARKS := sampling guidance precision prior growth training processes data evaluation gaussian full_size

.PHONY: bench
bench: .venv/installed
	$(BIN)/python benchmarks/report.py --benchmarks $(BENCHMARKS) $(BENCH_FLAGS)
