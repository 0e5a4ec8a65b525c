"""Cells, one a file: params, carry, the equations, the hand-derived rule, the factory.

Every line that imports a cell's file exports its factory, params and carry, and puts the factory
into the registry `FACTORIES`.
"""

from rnnjax.cells import initializers as initializers, linear_algebra as linear_algebra
from rnnjax.cells._activations import ACTIVATIONS as ACTIVATIONS, ActivationName as ActivationName
from rnnjax.cells._build import FACTORIES as FACTORIES, factory as factory
from rnnjax.cells.gated._cifg import *
from rnnjax.cells.gated._gru import *
from rnnjax.cells.gated._lstm import *
from rnnjax.cells.gated._lstm_1997 import *
from rnnjax.cells.gated._lstm_projected import *
from rnnjax.cells.gated._mgu import *
from rnnjax.cells.gated._peephole_lstm import *
from rnnjax.cells.linear._delta_net import *
from rnnjax.cells.linear._lru import *
from rnnjax.cells.linear._min_gru import *
from rnnjax.cells.simple._ctrnn import *
from rnnjax.cells.simple._identity import *
from rnnjax.cells.simple._indrnn import *
from rnnjax.cells.simple._unicornn import *
from rnnjax.cells.simple._urnn import *
from rnnjax.cells.simple._vanilla import *
from rnnjax.cells.spatial._conv_lstm import *
