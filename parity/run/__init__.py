"""Cases × references × precisions: run on both sides, judged, recorded and kept."""
