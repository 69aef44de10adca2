"""The wire: BEC's Redis protocol without bec_lib."""

from zwriter.protocol import keys as keys
from zwriter.protocol.codec import LIMITS as LIMITS
from zwriter.protocol.codec import Limits as Limits
from zwriter.protocol.codec import Message as Message
from zwriter.protocol.codec import decode as decode
from zwriter.protocol.codec import encode as encode
from zwriter.protocol.codec import messages_in as messages_in
from zwriter.protocol.keys import safe_name as safe_name
from zwriter.protocol.messages import AvailableBeamlineStates as AvailableBeamlineStates
from zwriter.protocol.messages import Baseline as Baseline
from zwriter.protocol.messages import BeamlineState as BeamlineState
from zwriter.protocol.messages import CopyRequest as CopyRequest
from zwriter.protocol.messages import FileReference as FileReference
from zwriter.protocol.messages import Readings as Readings
from zwriter.protocol.messages import ScanPoint as ScanPoint
from zwriter.protocol.messages import ScanStatus as ScanStatus
from zwriter.protocol.messages import SignalIndex as SignalIndex
from zwriter.protocol.outgoing import BECStatus as BECStatus
from zwriter.protocol.outgoing import alarm_message as alarm_message
from zwriter.protocol.outgoing import file_content_message as file_content_message
from zwriter.protocol.outgoing import file_message as file_message
from zwriter.protocol.outgoing import scan_history_message as scan_history_message
from zwriter.protocol.outgoing import status_message as status_message
from zwriter.protocol.updates import updates_in as updates_in
