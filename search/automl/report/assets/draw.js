"use strict";
window.automlReport.drawAll();
