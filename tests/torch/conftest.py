"""One thread for tensors: they are tiny here, and threads that wait for each other spin where others work."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
